/**
 * TensorFlow Text's round-robin trimming: of ragged segments (a question and its answer, say), row by row, as many elements as a
 * model takes, shared out evenly.
 */
import { type Tensor, tensor } from "@shardserve/tensor";
import { appender, build, withData } from "../call/elements.js";
import { check } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { indexData, integersOf } from "../call/shapes.js";
import { checkSplits, eachRow } from "./row-splits.js";

/** Inputs of both ops: the length, N values, N row splits. */
interface Segments {
  readonly lengthMax: number;
  readonly values: readonly Tensor[];
  /** By segment, where its rows start and the last one ends. */
  readonly splits: readonly ArrayLike<number>[];
  readonly rowCount: number;
}

function segmentsOf(op: OpCall): Segments {
  const count = op.attrs.int("N");
  const values = op.tensors(1, 1 + count);
  const splits = op.tensors(1 + count).map(integersOf);
  const rowCount = splits[0]!.length - 1;
  checkSplits(splits[0]!, "row_splits");
  for (const [i, rows] of splits.entries()) {
    check(rows.length === rowCount + 1, () => `segment ${i} has ${rows.length - 1} rows, the first one ${rowCount}`);
    eachRow(rows, values[i]!.shape[0] ?? 0, `row_splits of segment ${i}`);
  }
  const lengthMax = Math.max(0, integersOf(op.tensor(0))[0] ?? 0);
  return { lengthMax, values, splits, rowCount };
}

/** How many elements of each segment a row keeps: `kept[segment][row]`. */
function keptOf({ lengthMax, splits, rowCount }: Segments): Int32Array[] {
  const kept = splits.map(() => new Int32Array(rowCount));
  const sizes = new Int32Array(splits.length);
  const order = splits.map((_, i) => i);
  for (let row = 0; row < rowCount; row++) {
    for (const [i, rows] of splits.entries()) sizes[i] = rows[row + 1]! - rows[row]!;
    order.sort((a, b) => sizes[a]! - sizes[b]!);
    let left = lengthMax;
    let filled = 0;
    // The smallest segments are kept whole while all that are left could be as long.
    for (; filled < order.length; filled++) {
      const size = sizes[order[filled]!]!;
      if (size * (order.length - filled) > left) break;
      kept[order[filled]!]![row] = size;
      left -= size;
    }
    const share = Math.floor(left / Math.max(1, order.length - filled));
    for (const i of order.slice(filled)) kept[i]![row] = share;
    left -= share * (order.length - filled);
    // One more each for the first that have it.
    for (let i = 0; i < splits.length && left > 0; i++) {
      if (kept[i]![row]! >= sizes[i]!) continue;
      kept[i]![row]!++;
      left--;
    }
  }
  return kept;
}

function trim(op: OpCall): Tensor[] {
  const segments = segmentsOf(op);
  const kept = keptOf(segments);
  const splitsDtype = op.attrs.dtype("Tsplits");
  const trimmed = segments.values.map((value, i) => {
    const count = kept[i]!.reduce((sum, size) => sum + size, 0);
    const out = appender(value.dtype, count);
    for (let row = 0; row < segments.rowCount; row++) out.append(value.data, segments.splits[i]![row]!, kept[i]![row]!);
    return build(value.dtype, [count], out);
  });
  const splits = kept.map((sizes) => {
    const rows = [0];
    for (const size of sizes) rows.push(rows.at(-1)! + size);
    return withData(splitsDtype, [rows.length], indexData(splitsDtype, rows));
  });
  return [...trimmed, ...splits];
}

function masks(op: OpCall): Tensor[] {
  const segments = segmentsOf(op);
  const kept = keptOf(segments);
  return segments.splits.map((rows, i) => {
    const [first, last] = [rows[0]!, rows[segments.rowCount]!];
    const mask = new Uint8Array(last - first);
    for (let row = 0; row < segments.rowCount; row++) {
      const start = rows[row]! - first;
      mask.fill(1, start, start + kept[i]![row]!);
    }
    return tensor("bool", [mask.length], mask);
  });
}

export const TEXT_TRIM_KERNELS: Readonly<Record<string, Kernel>> = {
  "TFText>RoundRobinTrim": trim,
  "TFText>RoundRobinGenerateMasks": masks,
};
