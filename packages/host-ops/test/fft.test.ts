import assert from "node:assert/strict";
import { Attrs } from "@shardserve/graph";
import { type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

describe("Fourier transforms of real lines", () => {
  it("have real first and middle bins, not ones of -0 or of rounding errors, whose angle would be another", async () => {
    for (let length = 1; length <= 17; length++) {
      const line = tensor(
        "float64",
        [1, length],
        Float64Array.from({ length }, (_, i) => Math.sin(7 * i + 1) - 0.3),
      );
      const node = {
        name: "n",
        op: "RFFT",
        inputs: [],
        controls: [],
        attrs: new Attrs("RFFT", { Tcomplex: "complex128" }),
      };
      const inputs = [line, tensor("int32", [1], Int32Array.of(length))];
      const [spectrum] = (await hostKernels.get("RFFT")!({ node, inputs, state: newState() })) as Tensor[];
      const data = spectrum!.data as unknown as Float64Array;
      assert.ok(Object.is(data[1], 0), `first of ${length}`);
      if (length % 2 === 0) assert.ok(Object.is(data[length + 1], 0), `middle of ${length}`);
    }
  });
});
