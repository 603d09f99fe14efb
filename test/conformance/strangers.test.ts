import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ServingError } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { planExport, runExport } from "@shardserve/exporter";
import { hostKernels } from "@shardserve/host-ops";
import { loadOrt } from "@shardserve/native";
import { PartitionRows, readManifest } from "@shardserve/rowstore";
import type { Model } from "@shardserve/servable";
import { type Golden, readGolden, REPO_DIR, tempDir } from "@shardserve/testkit";
import { ask, differences } from "./replay.js";

/**
 * Small models that a committed script made, odd in the ways in which people's SavedModels are odd: served whole, and with
 * every table that can be sharded on partition files. Both must equal TensorFlow, and each other bit for bit.
 */
const ROOT = join(REPO_DIR, "test/fixtures/strangers");

/** Tables of each model that an export must move, so that a lookup that is no longer found fails the test. */
const TABLES: Readonly<Record<string, number>> = {
  "tables-of-every-kind": 8,
  "sparse-embeddings-weighted": 4,
  "v1-partitioned-variables": 0,
  "checkpoint-in-small-files": 2,
  "v1-sparse-signature": 1,
  "ragged-maps": 1,
  "ragged-signature": 1,
  "lookup-tables": 1,
  "v1-classify-regress-examples": 2,
  "v1-interior-feeds": 0,
  "v1-two-tag-sets": 0,
  "v1-sequence-lengths": 0,
  "image-detector": 0,
  "sound-and-colour": 0,
  "training-signatures": 0,
  "served-in-training-mode": 0,
  "datasets-in-the-graph": 1,
  "loops-and-branches-over-tables": 2,
  "generate-with-key-value-cache": 1,
  "saliency-through-loops": 1,
  "lookup-after-arithmetic": 2,
  "lookups-in-computed-tables": 3,
  "signatures-share-a-trained-table": 0,
  counters: 0,
  "checks-that-refuse": 0,
  "checks-that-nobody-reads": 0,
  "keras2-dilated-text": 1,
  "keras2-preprocessing": 1,
  "keras3-attention": 1,
  "beam-search-decoder": 1,
  "bert-and-translation-text": 3,
  "sentencepiece-encoder": 1,
  "estimator-boosted-trees": 0,
  "estimator-wide-deep": 6,
  "decision-forests": 0,
  "feature-columns": 10,
  "jax-arrays": 0,
  "jax-calls": 0,
  "jax-cnn-batch-norm": 0,
  "jax-convolutions": 0,
  "jax-elementwise": 0,
  "jax-graph-arrays": 0,
  "jax-graph-cnn-batch-norm": 0,
  "jax-graph-convolutions": 0,
  "jax-graph-recurrent": 0,
  "jax-graph-reductions": 0,
  "jax-graph-scans": 1,
  "jax-graph-sorts-and-scatters": 0,
  "jax-graph-transformer": 2,
  "jax-graph-two-towers": 2,
  "jax-linear-algebra": 0,
  "jax-mlp": 0,
  "jax-random": 0,
  "jax-recurrent": 0,
  "jax-reductions": 0,
  "jax-scans": 1,
  "jax-sorts-and-scatters": 0,
  "jax-transformer": 2,
  "jax-two-towers": 2,
  "xla-ops": 0,
};

async function sameAnswers(golden: Golden, one: Model, other: Model): Promise<void> {
  for (const [i, item] of golden.cases.entries()) {
    const [a, b] = [await ask(one, item), await ask(other, item)];
    if (a instanceof ServingError || b instanceof ServingError) {
      assert.equal((a as ServingError).status, (b as ServingError).status, `${item.signature}[${i}]`);
    } else assert.deepEqual(a, b, `${item.signature}[${i}]`);
  }
}

describe("strangers' models", () => {
  it("each of them says how many tables it has", () => {
    assert.deepEqual(readdirSync(ROOT).sort(), Object.keys(TABLES).sort());
  });

  for (const [name, tableCount] of Object.entries(TABLES)) {
    const dir = join(ROOT, name, "1");
    const golden = readGolden(join(ROOT, name, "golden.json"));
    const { tags } = golden;
    const whole = () => loadModel({ dir, tags, ort: loadOrt() });

    it(`${name} answers as TensorFlow does`, async () => {
      const before = { ...loadOrt().live };
      assert.deepEqual(await differences(golden, whole), []);
      assert.deepEqual(loadOrt().live, before, "a closed model leaves nothing behind");
    });

    if (tableCount === 0) continue;
    it(`${name} answers the same with its ${tableCount} tables sharded`, async () => {
      await using temp = await tempDir("shardserve-strangers-");
      const out = join(temp.path, "1");
      const plan = await planExport(dir, { tags, minTableBytes: 0, rowDtype: "same" }, hostKernels);
      assert.equal(plan.tables.length, tableCount);
      await runExport(plan, out, { writer: "test" });
      const { manifest } = (await readManifest(out))!;
      const sharded = async () =>
        loadModel({ dir: out, tags, ort: loadOrt(), rowSource: await PartitionRows.open(out, manifest) });
      assert.deepEqual(await differences(golden, sharded), []);
      const [one, other] = [await whole(), await sharded()];
      try {
        await sameAnswers(golden, one, other);
      } finally {
        await Promise.all([one.close(), other.close()]);
      }
    });
  }
});
