/** The start of tf.nn.safe_embedding_lookup_sparse as one kernel: see `FilledIds` in the compiler's IR. */
import { lanesOf, type Tensor, tensor, zeroedArray, zeros } from "@shardserve/tensor";
import { gather } from "../arrays/array-gather.js";
import { int64Data, signedAt, storeAt, wordsOf } from "../call/int64.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integerOf } from "../call/shapes.js";
import { sparseFillEmptyRows } from "./sparse.js";

/** Rows are counted in 32 bits here; more of them are no case to be quick in. */
const ROWS_MAX = 2 ** 24;

function filledIds(op: OpCall): Tensor[] {
  const dropsNegative = op.attrs.bool("dropsNegative");
  return inOrder(op, dropsNegative) ?? stepByStep(op, dropsNegative);
}

/**
 * For what well-formed requests hold: entries in the order of their rows, all of them within the shape.
 *
 * @returns undefined for anything else, which may be an error
 */
function inOrder(op: OpCall, dropsNegative: boolean): Tensor[] | undefined {
  const [indices, ids, shape, filler] = [op.tensor(0), op.tensor(1), op.tensor(2), op.tensor(3)];
  const [count, rank] = indices.shape as [number, number];
  if (indices.shape.length !== 2 || rank === 0 || ids.shape.length !== 1 || ids.shape[0] !== count) return undefined;
  if (shape.shape.length !== 1 || shape.shape[0] !== rank || filler.shape.length !== 0) return undefined;
  const rows = integerOf(shape);
  if (!(rows >= 0 && rows <= ROWS_MAX)) return undefined;
  const rowLanes = lanesOf(indices.data as BigInt64Array);
  const { words, width } = wordsOf(ids);
  const stride = 2 * rank;
  let kept = 0;
  let present = 0;
  let last = -1;
  for (let i = 0; i < count; i++) {
    if (dropsNegative && words[width * (i + 1) - 1]! < 0) continue;
    const row = rowLanes[i * stride]!;
    if (row < last || row >= rows || rowLanes[i * stride + 1] !== 0) return undefined;
    if (row !== last) present++;
    last = row;
    kept++;
  }
  const total = kept + rows - present;
  checkOutput("int64", total);
  const outRows = int64Data(total);
  const outIds = zeros(ids.dtype as "int32" | "int64", [total]);
  const outWords = wordsOf(outIds).words;
  const isEmpty = zeroedArray(Uint8Array, rows);
  const fillerWords = wordsOf(filler).words;
  for (let i = 0, at = 0, next = 0; i <= count; i++) {
    if (i < count && dropsNegative && words[width * (i + 1) - 1]! < 0) continue;
    const row = i < count ? rowLanes[i * stride]! : rows;
    for (; next < row; next++, at++) {
      isEmpty[next] = 1;
      outRows.lanes[2 * at] = next;
      for (let k = 0; k < width; k++) outWords[width * at + k] = fillerWords[k]!;
    }
    if (i === count) break;
    next = row + 1;
    outRows.lanes[2 * at] = row;
    for (let k = 0; k < width; k++) outWords[width * at + k] = words[width * i + k]!;
    at++;
  }
  return [tensor("int64", [total], outRows.data), outIds, tensor("bool", [rows], isEmpty)];
}

/** The ops of the graph, one after the other. */
function stepByStep(op: OpCall, dropsNegative: boolean): Tensor[] {
  const [indices, ids] = [op.tensor(0), op.tensor(1)];
  const kept = dropsNegative ? notNegative(ids) : undefined;
  const inputs = kept ? [gather(indices, kept, 0, 0), gather(ids, kept, 0, 0)] : [indices, ids];
  const [filled, values, isEmpty] = sparseFillEmptyRows(op.withInputs([...inputs, op.tensor(2), op.tensor(3)]));
  const [count, rank] = filled!.shape as [number, number];
  const from = lanesOf(filled!.data as BigInt64Array);
  const rows = int64Data(count);
  for (let i = 0; i < count; i++) storeAt(rows.lanes, i, signedAt(from, i * rank));
  return [tensor("int64", [count], rows.data), values!, isEmpty!];
}

/** Positions of the ids that are not below 0. */
function notNegative(ids: Tensor): Tensor {
  const { words, width } = wordsOf(ids);
  const positions: number[] = [];
  for (let i = 0; i < ids.data.length; i++) if (words[width * (i + 1) - 1]! >= 0) positions.push(i);
  return tensor("int32", [positions.length], Int32Array.from(positions));
}

export const FILLED_IDS_KERNELS: Readonly<Record<string, Kernel>> = { FilledIds: filledIds };
