import { refKey, type TensorRef } from "@shardserve/graph";
import type { RegionReader } from "./region-reader.js";

/** Four gates that are columns of the same sum, or of the same two: one product has the columns of all of them. */
export interface JoinedGates {
  /** Each [batch, 4 units]; a gate is its share of all of them, added up. */
  readonly sums: readonly TensorRef[];
  /** Which quarter of the columns each gate has. */
  readonly quarters: readonly number[];
  /** Scalars that no turn changes; only where each is the batch do the gates have all of its rows. */
  readonly rowCounts: readonly TensorRef[];
}

/** A gate's columns of a sum. */
interface Share {
  readonly of: TensorRef;
  readonly quarter: number;
  readonly rowCounts: readonly TensorRef[];
}

/** The four gates, where each has another quarter. */
export function joinedGates(reader: RegionReader, gates: readonly TensorRef[]): JoinedGates | undefined {
  const shares = gates.map((gate) => sharesOf(reader, gate));
  const sumsOf = (gate: readonly Share[]): string =>
    gate
      .map(({ of }) => refKey(of))
      .sort()
      .join();
  const [first] = shares;
  const isJoined = shares.every((gate) => {
    return gate && sumsOf(gate) === sumsOf(first!) && gate.every(({ quarter }) => quarter === gate[0]!.quarter);
  });
  const known = shares as readonly (readonly Share[])[];
  const quarters = isJoined ? known.map(([share]) => share!.quarter) : [];
  if (quarters.length !== 4 || new Set(quarters).size !== 4) return undefined;
  const rowCounts = known.flat().flatMap((share) => share.rowCounts);
  const distinct = new Map(rowCounts.map((ref) => [refKey(ref), ref]));
  return { sums: known[0]!.map(({ of }) => of), quarters, rowCounts: [...distinct.values()] };
}

function sharesOf(reader: RegionReader, gate: TensorRef): readonly Share[] | undefined {
  const shares = (reader.terms(gate) ?? [gate]).map((term) => splitShare(reader, term) ?? sliceShare(reader, term));
  return shares.includes(undefined) ? undefined : (shares as Share[]);
}

function splitShare(reader: RegionReader, ref: TensorRef): Share | undefined {
  const [axis, of] = reader.inputs(ref, "Split") ?? [];
  if (!axis || !of || reader.node(ref).attrs.int("num_split") !== 4) return undefined;
  const isOfColumns = ["1", "-1"].includes(reader.numbers(axis)?.join() ?? "");
  return isOfColumns ? { of, quarter: ref.index, rowCounts: [] } : undefined;
}

const OTHER_MASKS = ["begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"];

/** [0:rows, from:to] of a sum, in steps of one, as JAX writes it. */
function sliceShare(reader: RegionReader, ref: TensorRef): Share | undefined {
  const [of, begin, end, steps] = reader.inputs(ref, "StridedSlice") ?? [];
  if (!of || !begin || !end || reader.numbers(steps!)?.join() !== "1,1") return undefined;
  if (OTHER_MASKS.some((mask) => reader.node(ref).attrs.int(mask) !== 0)) return undefined;
  const [top, from] = reader.numbers(begin) ?? [];
  const [rows, to] = elementsOf(reader, end) ?? [];
  const [height, width] = reader.shape(of) ?? [];
  if (top !== 0 || from === undefined || rows === undefined || height === undefined || !width) return undefined;
  const quarter = (from * 4) / width;
  if (![0, 1, 2, 3].includes(quarter) || to !== (width / 4) * (quarter + 1)) return undefined;
  if (typeof rows !== "number") return { of, quarter, rowCounts: [rows] };
  return height >= 0 && rows >= height ? { of, quarter, rowCounts: [] } : undefined;
}

/** The two elements of a vector: numbers, or scalars that no turn changes. */
function elementsOf(reader: RegionReader, ref: TensorRef): readonly (number | TensorRef)[] | undefined {
  const known = reader.numbers(ref);
  if (known) return known;
  const [first, second, axis] = reader.inputs(ref, "ConcatV2") ?? [];
  if (!axis || reader.node(ref).inputs.length !== 3 || reader.numbers(axis)?.join() !== "0") return undefined;
  const [scalar] = reader.inputs(first!, "Reshape") ?? [];
  const to = reader.numbers(second!);
  const isCount = scalar && reader.isFixed(scalar) && reader.shape(scalar)?.length === 0;
  return isCount && reader.shape(first!)?.join() === "1" && to?.length === 1 ? [scalar, to[0]!] : undefined;
}
