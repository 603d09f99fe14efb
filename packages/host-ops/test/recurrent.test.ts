import assert from "node:assert/strict";
import { Attrs } from "@shardserve/graph";
import { type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

/** What no golden of TensorFlow can say: its process ends, or nobody waits any more. */
describe("LSTM by the sequence", () => {
  const floats = (...shape: number[]): Tensor =>
    tensor("float32", shape, new Float32Array(shape.reduce((count, dim) => count * dim, 1)));

  async function run(steps: bigint, size: number, signal?: AbortSignal): Promise<void> {
    const attrs = new Attrs("BlockLSTM", { T: "float32", cell_clip: 0, forget_bias: 1, use_peephole: false });
    const inputs = [
      tensor("int64", [], BigInt64Array.of(steps)),
      floats(4, size, size),
      floats(size, size),
      floats(size, size),
      floats(2 * size, 4 * size),
      floats(size),
      floats(size),
      floats(size),
      floats(4 * size),
    ];
    const node = { name: "node", op: "BlockLSTM", inputs: [], controls: [], attrs };
    await hostKernels.get("BlockLSTM")!({ node, inputs, state: newState(), ...(signal && { signal }) });
  }

  for (const steps of [-1n, 5n]) {
    it(`refuses ${steps} of 4 steps`, async () => {
      await assert.rejects(
        async () => run(steps, 2),
        (error: { code?: string; message: string }) =>
          error.code === "INVALID_ARGUMENT" &&
          error.message.includes(`seq_len_max must be between 0 and 4 but is ${steps}`),
      );
    });
  }

  it("lets others run in the middle of much work, and ends there once nobody waits", async () => {
    const gone = new Error("gone");
    await run(4n, 2, AbortSignal.abort(gone));
    await assert.rejects(run(4n, 96, AbortSignal.abort(gone)), gone);
  });
});
