/** N-grams of the strings of each row, with padding at its ends. */
import { StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { indexData, integersOf } from "../call/shapes.js";
import { JoinedRow } from "./joined-row.js";

function nGrams(op: OpCall): Tensor[] {
  const { bytes, offsets, length: count } = op.strings(0);
  const splits = integersOf(op.tensor(1));
  check(
    splits.length === 0 || (splits[0] === 0 && splits[splits.length - 1] === count),
    () => `Last split value must be data size. Expected ${count}, got ${splits[splits.length - 1]}`,
  );
  const [left, right] = [op.attrs.bytes("left_pad"), op.attrs.bytes("right_pad")];
  const padWidth = op.attrs.int("pad_width");
  const keepsShort = op.attrs.bool("preserve_short_sequences");
  const windows = op.attrs.ints("ngram_widths").map((width) => ({
    width,
    pad: padWidth >= 0 ? Math.min(padWidth, width - 1) : width - 1,
  }));
  // A row shorter than every width is kept whole, with what padding it has.
  const wholePad = keepsShort ? Math.max(0, padWidth) : 0;
  const padMax = windows.reduce((most, { pad }) => Math.max(most, pad), wholePad);
  const pieces = new StringColumnBuilder(count * windows.length, bytes.length * windows.length);
  const outSplits = splits.length === 0 ? [] : [0];
  const row = new JoinedRow(op.attrs.bytes("separator"));
  for (let k = 0; k + 1 < splits.length; k++) {
    const [start, end] = [splits[k]!, splits[k + 1]!];
    check(start <= end && end <= count, () => `Invalid split value ${end}, must be in [${start}, ${count}]`);
    row.clear();
    for (let i = 0; i < padMax; i++) row.add(left, 0, left.length);
    for (let i = start; i < end; i++) row.add(bytes, offsets[i]!, offsets[i + 1]!);
    for (let i = 0; i < padMax; i++) row.add(right, 0, right.length);
    const before = pieces.length;
    for (const { width, pad } of windows) {
      const last = row.length - (padMax - pad) - width;
      for (let first = padMax - pad; first <= last; first++) row.appendTo(pieces, first, width);
    }
    if (keepsShort && pieces.length === before && start < end) {
      row.appendTo(pieces, padMax - wholePad, end - start + 2 * wholePad);
    }
    outSplits.push(pieces.length);
  }
  const { dtype } = op.tensor(1);
  return [
    tensor("string", [pieces.length], pieces.build()),
    withData(dtype, [outSplits.length], indexData(dtype, outSplits)),
  ];
}

export const STRING_NGRAM_KERNELS: Readonly<Record<string, Kernel>> = { StringNGrams: nGrams };
