/** TensorFlow Text's splitting of strings into their bytes, and at offsets in bytes. */
import { StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { check, checkVector } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf } from "../call/shapes.js";
import { checkSplits, eachRow } from "./row-splits.js";

function bytesOf(op: OpCall): Tensor[] {
  checkVector(op.tensor(0), "input_values");
  const input = op.strings(0);
  const count = input.bytes.length;
  checkOutput("int32", count);
  const bytes = new Uint8Array(count);
  const starts = new Int32Array(count);
  const splits = [0];
  let at = 0;
  for (let row = 0; row < input.length; row++) {
    const text = input.at(row);
    bytes.set(text, at);
    for (let i = 0; i < text.length; i++) starts[at + i] = i;
    at += text.length;
    splits.push(at);
  }
  return [
    tensor("uint8", [at], bytes.subarray(0, at)),
    tensor("int64", [splits.length], fromIntegers(splits)),
    tensor("int32", [at], starts.subarray(0, at)),
    tensor(
      "int32",
      [at],
      starts.subarray(0, at).map((start) => start + 1),
    ),
  ];
}

/** Parts of each string from a start up to an end, in bytes; rows of them as those of the offsets. */
function partsOf(op: OpCall): Tensor[] {
  checkVector(op.tensor(0), "input_values");
  const input = op.strings(0);
  const [starts, ends] = [integersOf(op.tensor(1)), integersOf(op.tensor(2))];
  const splits = integersOf(op.tensor(3));
  checkSplits(splits, "input_row_splits");
  check(
    splits.length === input.length + 1 && starts.length === ends.length,
    () => `${input.length} strings have ${splits.length - 1} rows of ${starts.length} starts and ${ends.length} ends`,
  );
  let payloadBytes = 0;
  let row = 0;
  eachRow(splits, starts.length, "input_row_splits", (from, to) => {
    const size = input.at(row++).length;
    for (let i = from; i < to; i++) {
      const [start, end] = [starts[i]!, ends[i]!];
      check(start >= 0 && start <= size, () => "Start offsets out of range.");
      check(end >= 0 && end <= size, () => "End offsets out of range.");
      check(start <= end, () => "Start offset after end offset.");
      payloadBytes += end - start;
    }
  });
  const [first, count] = [splits[0]!, splits[row]! - splits[0]!];
  // Offsets overlap as they like: the parts together may be larger than the request by far.
  checkOutput("string", count, payloadBytes);
  const parts = new StringColumnBuilder(count, payloadBytes);
  for (row = 0; row < input.length; row++) {
    const text = input.at(row);
    for (let i = splits[row]!; i < splits[row + 1]!; i++) parts.pushRange(text, starts[i]!, ends[i]!);
  }
  const rowSplits = Array.from(splits, (split) => split - first);
  return [tensor("string", [count], parts.build()), tensor("int64", [rowSplits.length], fromIntegers(rowSplits))];
}

export const BYTE_SPLIT_KERNELS: Readonly<Record<string, Kernel>> = {
  "TFText>ByteSplitByOffsets": partsOf,
  "TFText>ByteSplitWithOffsets": bytesOf,
};
