import assert from "node:assert/strict";
import { ServingError } from "@shardserve/core";
import { tensor } from "@shardserve/tensor";
import { answer, build, goldenCases } from "./golden-cases.js";

describe("a transposed convolution of volumes without extent", () => {
  it("is refused: ONNX Runtime's kernel took the process down", async () => {
    const golden = [...goldenCases().values()].flat().find(({ op, out }) => op === "Conv3DBackpropInputV2" && out);
    assert.ok(golden);
    for (const knowledge of ["ranks only", "nothing"] as const) {
      const { step, infos, fed } = build(golden, knowledge);
      const at = fed.findIndex(({ shape }) => shape.length === 5);
      for (const axis of [1, 2]) {
        const shape = fed[at]!.shape.map((length, i) => (i === axis ? 0 : length));
        const feeds = fed.map((value, i) => (i === at ? tensor("float32", shape, new Float32Array(0)) : value));
        await assert.rejects(answer(step, infos, feeds), ServingError);
      }
    }
  });
});
