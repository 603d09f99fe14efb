import { invariant, ServingError } from "@shardserve/core";
import type { LookupStep, PlannedLookup } from "@shardserve/graph";
import { OrtValue } from "@shardserve/native";
import type { RowRequest, RowSource } from "@shardserve/rowstore";
import { lanesOf, type Tensor, tensor } from "@shardserve/tensor";
import type { Run, SlotMap } from "./frame.js";

/** Where one lookup's rows come from. */
export interface TableLocation {
  readonly source: RowSource;
  /** Index in `source.tables`. */
  readonly table: number;
}

interface BoundLookup {
  readonly lookup: PlannedLookup;
  readonly table: number;
  readonly ids: number;
  readonly rows: number;
  readonly slots: number;
}

/** A lookup step: one call per source for all its lookups. */
export class BoundLookupStep {
  readonly #bySource: readonly { readonly source: RowSource; readonly lookups: readonly BoundLookup[] }[];

  constructor(step: LookupStep, slots: SlotMap, locate: (lookup: PlannedLookup) => TableLocation) {
    const bySource = new Map<RowSource, BoundLookup[]>();
    for (const lookup of step.lookups) {
      const { source, table } = locate(lookup);
      const list = bySource.get(source) ?? [];
      bySource.set(source, list);
      list.push({
        lookup,
        table,
        ids: slots.of(lookup.ids),
        rows: slots.of(lookup.rows),
        slots: slots.of(lookup.slots),
      });
    }
    this.#bySource = [...bySource].map(([source, lookups]) => ({ source, lookups }));
  }

  /** @throws ServingError ROW_OUT_OF_RANGE in TensorFlow's words */
  async run(run: Run): Promise<void> {
    await Promise.all(this.#bySource.map(({ source, lookups }) => fetch(source, lookups, run)));
  }
}

async function fetch(source: RowSource, lookups: readonly BoundLookup[], run: Run): Promise<void> {
  const tensors = lookups.map((bound) => run.tensor(bound.ids));
  const requests = lookups.map(({ lookup, table }, i): RowRequest => {
    const { rows } = source.tables[table]!;
    return { table, ids: shifted(tensors[i]!, lookup, rows) };
  });
  const { signal, deadlineMs, isExplained, traceParent, epoch } = run.request;
  const lease = await source
    .lookup(requests, {
      ...(signal && { signal }),
      ...(deadlineMs !== undefined && { deadlineMs }),
      isExplained,
      traceParent,
      epoch,
    })
    .catch((error: unknown) => {
      throw inTensorFlowsWords(error, lookups, tensors);
    });
  if (!run.hold(lease)) return;
  for (let i = 0; i < lookups.length; i++) {
    const { rows, slots } = lease.batches[i]!;
    run.values[lookups[i]!.rows] = rows; // the lease owns it
    run.values[lookups[i]!.slots] = run.own(OrtValue.forRun(tensor("int32", tensors[i]!.shape, slots)));
  }
}

/** Ids as rows of the whole table; ids of a part are checked here, because the source knows only the whole. */
function shifted(ids: Tensor, lookup: PlannedLookup, rows: number): BigInt64Array | Int32Array {
  invariant(ids.dtype === "int64" || ids.dtype === "int32", () => `ids of dtype ${ids.dtype}`);
  const data = ids.data as BigInt64Array | Int32Array;
  if (lookup.rowOffset === 0 && lookup.rowCount === rows) return data;
  const position = firstOutside(data, lookup.rowCount);
  if (position >= 0) throw outOfRange(ids, position, lookup);
  if (lookup.rowOffset === 0) return data;
  const offset = lookup.rowOffset;
  return data instanceof Int32Array ? data.map((id) => id + offset) : data.map((id) => id + BigInt(offset));
}

/** Position of the first id outside [0, rowCount), -1 when there is none. */
function firstOutside(ids: BigInt64Array | Int32Array, rowCount: number): number {
  if (ids instanceof Int32Array) {
    for (let i = 0; i < ids.length; i++) if (ids[i]! < 0 || ids[i]! >= rowCount) return i;
    return -1;
  }
  const lanes = lanesOf(ids);
  for (let i = 0; i < ids.length; i++) {
    const id = lanes[2 * i + 1]! * 2 ** 32 + (lanes[2 * i]! >>> 0);
    if (id < 0 || id >= rowCount) return i;
  }
  return -1;
}

/** A source prints flat positions and the rows of its table; TensorFlow prints the index within the ids. */
function inTensorFlowsWords(error: unknown, lookups: readonly BoundLookup[], tensors: readonly Tensor[]): unknown {
  if (!(error instanceof ServingError) || error.code !== "ROW_OUT_OF_RANGE") return error;
  for (let i = 0; i < lookups.length; i++) {
    const { lookup } = lookups[i]!;
    const position = firstOutside(tensors[i]!.data as BigInt64Array | Int32Array, lookup.rowCount);
    if (position >= 0) return outOfRange(tensors[i]!, position, lookup, error);
  }
  return error;
}

function outOfRange(ids: Tensor, position: number, { rowCount, node }: PlannedLookup, cause?: unknown): ServingError {
  const id = (ids.data as BigInt64Array | Int32Array)[position]!;
  const text = `indices${indexText(ids.shape, position)} = ${id} is not in [0, ${rowCount})\n\t [[{{node ${node}}}]]`;
  return new ServingError("ROW_OUT_OF_RANGE", text, { cause });
}

/** "[1,0]": a flat position as TensorFlow prints it for a shape; nothing for a scalar. */
export function indexText(shape: readonly number[], position: number): string {
  if (shape.length === 0) return "";
  const index: number[] = [];
  let rest = position;
  for (const length of [...shape].reverse()) {
    index.unshift(rest % length);
    rest = Math.floor(rest / length);
  }
  return `[${index.join(",")}]`;
}
