import assert from "node:assert/strict";
import { join } from "node:path";
import { loadModel } from "@shardserve/engine";
import type { KernelTable } from "@shardserve/graph";
import { hostKernels } from "@shardserve/host-ops";
import { loadOrt } from "@shardserve/native";
import { REPO_DIR } from "@shardserve/testkit";

describe("a SentencePiece model", () => {
  it("is there before the first request", async () => {
    let isMade = false;
    const kernels: KernelTable = {
      get: (op) => {
        const kernel = hostKernels.get(op);
        if (op !== "SentencepieceOp" || !kernel) return kernel;
        return async (call) => {
          const results = await kernel(call);
          isMade = true;
          return results;
        };
      },
      supports: (node, context) => hostKernels.supports(node, context),
    };
    const dir = join(REPO_DIR, "test/fixtures/strangers/sentencepiece-encoder/1");
    const model = await loadModel({ dir, ort: loadOrt(), kernels });
    await model.close();
    assert(isMade);
  });
});
