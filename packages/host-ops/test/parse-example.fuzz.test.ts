import assert from "node:assert/strict";
import { seededRandom, ServingError } from "@shardserve/core";
import { Attrs, type KernelCall } from "@shardserve/graph";
import { elementCount, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { opGoldenTensor } from "@shardserve/testkit";
import { readGoldens } from "./golden.js";
import { newState } from "./host-state.js";

const budgetMs = Number(process.env["FUZZ_MS"] ?? 300);

/** Every serialized Example of the goldens, the seeds to damage. */
const seeds = readGoldens("parse").flatMap((golden) => {
  const first = golden.inputs[0]!;
  if ("step" in first) return [];
  const column = opGoldenTensor(first).data as StringColumn;
  return Array.from({ length: column.length }, (_, i) => column.at(i));
});

function callOf(serialized: readonly Uint8Array[]): KernelCall {
  const keys = (...values: string[]) => tensor("string", [values.length], StringColumn.from(values));
  const attrs = new Attrs("ParseExampleV2", {
    Tdense: ["float32", "int64", "string"],
    dense_shapes: [[1], [-1], [2]],
    num_sparse: 2,
    sparse_types: ["string", "float32"],
    ragged_value_types: ["int64"],
    ragged_split_types: ["int32"],
  });
  const inputs: Tensor[] = [
    tensor("string", [serialized.length], StringColumn.from(serialized)),
    keys(),
    keys("s", "v"),
    keys("x", "i", "t"),
    keys("r"),
    tensor("float32", [1], Float32Array.of(0)),
    tensor("int64", [1], BigInt64Array.of(0n)),
    tensor("string", [2], StringColumn.from(["", ""])),
  ];
  return {
    node: { name: "parse", op: "ParseExampleV2", inputs: [], controls: [], attrs },
    inputs,
    state: newState(),
  };
}

describe("ParseExample on hostile bytes", () => {
  it("answers or refuses, and never hangs, crashes or grows", async () => {
    const random = seededRandom(20260101);
    const kernel = hostKernels.get("ParseExampleV2")!;
    const endAt = performance.now() + budgetMs;
    let runs = 0;
    while (performance.now() < endAt) {
      const batch = Array.from({ length: 1 + (random.uint32() % 3) }, () =>
        damage(seeds[random.uint32() % seeds.length]!),
      );
      const bytes = batch.reduce((sum, example) => sum + example.length, 0);
      try {
        const outputs = (await kernel(callOf(batch))) as readonly Tensor[];
        for (const output of outputs) assert(elementCount(output.shape) <= 3 * (bytes + 8) * batch.length);
      } catch (error) {
        if (!(error instanceof ServingError)) throw error;
        assert.equal(error.code, "INVALID_ARGUMENT");
      }
      runs++;
    }
    assert(runs > 0);

    function damage(seed: Uint8Array): Uint8Array {
      let bytes = Uint8Array.from(seed);
      for (let n = random.uint32() % 4; n >= 0 && bytes.length > 0; n--) {
        const at = random.uint32() % bytes.length;
        switch (random.uint32() % 4) {
          case 0:
            bytes[at] = random.uint32();
            break;
          case 1:
            bytes = bytes.slice(0, at);
            break;
          case 2:
            bytes[at] = bytes[at]! ^ (1 << (random.uint32() % 8));
            break;
          default:
            bytes = Uint8Array.from([...bytes.subarray(0, at), 0xff, 0xff, 0xff, 0xff, 0x07, ...bytes.subarray(at)]);
        }
      }
      return bytes;
    }
  });
});
