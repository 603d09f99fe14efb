/** The end of a beam search: from what each step chose, and from whom, to the sequences. Op of TensorFlow 1's contrib and of TensorFlow Addons. */
import { type Tensor, tensor } from "@shardserve/tensor";
import { check, checkScalar, checkVector, printShape } from "../call/errors.js";
import { allocate } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";

/**
 * Sequences [time, batch, beam]: each is followed back from its beam's last step by the parents, and ends with its first end token. What is
 * behind a sequence's length, or behind its end, is the end token.
 *
 * @throws ServingError INVALID_ARGUMENT where a parent is no beam; TensorFlow Addons reads what lies behind the last one instead
 */
function gatherTree(op: OpCall): Tensor[] {
  const [steps, parents, lengths, end] = [op.tensor(0), op.tensor(1), op.tensor(2), op.tensor(3)];
  check(steps.shape.length === 3, () => `step_ids must be a 3-tensor, saw shape: ${printShape(steps.shape)}`);
  check(parents.shape.length === 3, () => `parent_ids must be a 3-tensor, saw shape: ${printShape(parents.shape)}`);
  checkVector(lengths, "max_sequence_lengths");
  checkScalar(end, "end_token");
  check(
    steps.shape.every((length, i) => length === parents.shape[i]),
    () =>
      `step_ids.shape must match parent_ids.shape.  but shapes are: ${printShape(steps.shape)} and ${printShape(parents.shape)}`,
  );
  const [times, batch, width] = steps.shape as [number, number, number];
  check(
    lengths.shape[0] === batch,
    () =>
      `batch size dimensions step_ids.shape[1] and max_sequence_lengths.shape[0] must match.  but shapes are: ${printShape(steps.shape)} and ${printShape(lengths.shape)}`,
  );
  const [ids, from, endId] = [steps.data, parents.data, (end.data as Int32Array)[0]!] as [
    Int32Array,
    Int32Array,
    number,
  ];
  const beams = allocate("int32", ids.length).fill(endId);
  for (let b = 0; b < batch; b++) {
    const length = Math.min(times, (lengths.data as Int32Array)[b]!);
    for (let beam = 0; beam < width; beam++) {
      let parent = beam;
      for (let t = length - 1; t >= 0; t--) {
        check(
          parent >= 0 && parent < width,
          () => `Saw invalid parent id ${parent} at (batch, time, beam) == (${b}, ${t}, ${beam})`,
        );
        const row = (t * batch + b) * width;
        beams[row + beam] = ids[row + parent]!;
        parent = from[row + parent]!;
      }
      endAtFirst(beams, { from: b * width + beam, stride: batch * width, length, endId });
    }
  }
  return [tensor("int32", steps.shape, beams)];
}

/** Makes all of one sequence behind its first end token end tokens. */
function endAtFirst(
  beams: Int32Array,
  {
    from,
    stride,
    length,
    endId,
  }: { readonly from: number; readonly stride: number; readonly length: number; readonly endId: number },
): void {
  let hasEnded = false;
  for (let t = 0; t < length; t++) {
    const at = from + t * stride;
    if (hasEnded) beams[at] = endId;
    else hasEnded = beams[at] === endId;
  }
}

export const BEAM_SEARCH_KERNELS: Readonly<Record<string, Kernel>> = {
  GatherTree: gatherTree,
  "Addons>GatherTree": gatherTree,
};
