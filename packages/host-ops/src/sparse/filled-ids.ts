/** The start of tf.nn.safe_embedding_lookup_sparse as one kernel: see `FilledIds` in the compiler's IR. */
import { lanesOf, type Tensor, tensor, zeroedArray } from "@shardserve/tensor";
import { gather } from "../arrays/array-gather.js";
import { int64Data, signedAt, storeAt } from "../call/int64.js";
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
  const idLanes = lanesOf(ids.data as BigInt64Array);
  const stride = 2 * rank;
  let kept = 0;
  let present = 0;
  let last = -1;
  for (let i = 0; i < count; i++) {
    if (dropsNegative && idLanes[2 * i + 1]! < 0) continue;
    const row = rowLanes[i * stride]!;
    if (row < last || row >= rows || rowLanes[i * stride + 1] !== 0) return undefined;
    if (row !== last) present++;
    last = row;
    kept++;
  }
  const total = kept + rows - present;
  checkOutput("int64", total);
  const outRows = int64Data(total);
  const outIds = int64Data(total);
  const isEmpty = zeroedArray(Uint8Array, rows);
  const fillerLanes = lanesOf(filler.data as BigInt64Array);
  for (let i = 0, at = 0, next = 0; i <= count; i++) {
    if (i < count && dropsNegative && idLanes[2 * i + 1]! < 0) continue;
    const row = i < count ? rowLanes[i * stride]! : rows;
    for (; next < row; next++, at++) {
      isEmpty[next] = 1;
      outRows.lanes[2 * at] = next;
      outIds.lanes[2 * at] = fillerLanes[0]!;
      outIds.lanes[2 * at + 1] = fillerLanes[1]!;
    }
    if (i === count) break;
    next = row + 1;
    outRows.lanes[2 * at] = row;
    outIds.lanes[2 * at] = idLanes[2 * i]!;
    outIds.lanes[2 * at + 1] = idLanes[2 * i + 1]!;
    at++;
  }
  return [
    tensor("int64", [total], outRows.data),
    tensor("int64", [total], outIds.data),
    tensor("bool", [rows], isEmpty),
  ];
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
  const lanes = lanesOf(ids.data as BigInt64Array);
  const positions: number[] = [];
  for (let i = 0; i < ids.data.length; i++) if (lanes[2 * i + 1]! >= 0) positions.push(i);
  return tensor("int32", [positions.length], Int32Array.from(positions));
}

export const FILLED_IDS_KERNELS: Readonly<Record<string, Kernel>> = { FilledIds: filledIds };
