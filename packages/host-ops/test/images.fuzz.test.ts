import assert from "node:assert/strict";
import { seededRandom, ServingError } from "@shardserve/core";
import { Attrs } from "@shardserve/graph";
import { StringColumn, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { opGoldenTensor, type OpGoldenTensor } from "@shardserve/testkit";
import { readGoldens } from "./golden.js";
import { newState } from "./host-state.js";

const budgetMs = Number(process.env["FUZZ_MS"] ?? 300);

describe("image decoders on damaged files", () => {
  it("fail with an error of ours or decode, and do not hang", async function () {
    this.timeout(budgetMs * 4 + 60_000);
    const files = readGoldens("images")
      .map(({ inputs }) => (opGoldenTensor(inputs[0] as OpGoldenTensor).data as StringColumn).at(0))
      .filter((file) => file.length > 20);
    const random = seededRandom(20260102);
    const next = () => random.uint32();
    const end = performance.now() + budgetMs;
    let runs = 0;
    for (; performance.now() < end; runs++) {
      const file = files[next() % files.length]!.slice();
      for (let n = next() % 4; n >= 0; n--) file[next() % file.length] = next();
      const cut = next() % 3 === 0 ? file.subarray(0, next() % file.length) : file;
      const node = {
        name: "node",
        op: "DecodeImage",
        inputs: [],
        controls: [],
        attrs: new Attrs("DecodeImage", { dtype: "uint8" }),
      };
      const contents = tensor("string", [], StringColumn.from([cut]));
      const start = performance.now();
      try {
        await hostKernels.get("DecodeImage")!({ node, inputs: [contents], state: newState() });
      } catch (error) {
        if (!(error instanceof ServingError)) throw error;
        assert.match(error.code, /^(INVALID_ARGUMENT|RESOURCE_EXHAUSTED)$/);
      }
      assert(performance.now() - start < 8000, `a file of ${cut.length} bytes took ${performance.now() - start} ms`);
    }
    assert(runs > 0);
  });
});
