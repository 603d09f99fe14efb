import assert from "node:assert/strict";
import { join } from "node:path";
import { REPO_DIR } from "@shardserve/testkit";
import { formatDot, openModel, planSignature } from "../src/index.js";
import { fakeDevice, fakeKernels } from "./fakes.js";

describe("plans as Graphviz", () => {
  it("has a box for every segment, input and output, and edges between what reads and what makes", async () => {
    await using opened = await openModel(join(REPO_DIR, "test/fixtures/models/half-plus-two/1"));
    const plan = planSignature(opened.model, "serving_default", { kernels: fakeKernels(), device: fakeDevice() });
    const dot = formatDot([plan]);
    assert.match(dot, /^digraph model \{/);
    assert.match(dot, /subgraph cluster_s0 \{\n {4}label="serving_default";/);
    assert.match(dot, /s0_in0 \[label="x\\nfloat32\[\?,1\]"/);
    assert.match(dot, /s0_in0 -> s0_step0;/);
    assert.match(dot, /s0_step0 -> s0_out0;/);
    assert.equal(dot.match(/\{/g)?.length, dot.match(/\}/g)?.length);
  });
});
