import { join } from "node:path";
import { loadModel } from "@shardserve/engine";
import { planExport, runExport } from "@shardserve/exporter";
import { hostKernels } from "@shardserve/host-ops";
import { loadOrt } from "@shardserve/native";
import { PartitionRows, readManifest } from "@shardserve/rowstore";
import { type Golden, tempDir } from "@shardserve/testkit";
import { differences, type ModelCase } from "../replay.js";

/** As `differences`, of the exported version with every table that can be sharded; undefined without any. */
export async function shardedDifferences({ dir }: ModelCase, golden: Golden): Promise<string[] | undefined> {
  const { tags } = golden;
  const plan = await planExport(dir, { tags, minTableBytes: 0, rowDtype: "same" }, hostKernels).catch(() => undefined);
  if (!plan || plan.tables.length === 0) return undefined;
  await using temp = await tempDir("shardserve-conformance-");
  const out = join(temp.path, "1");
  await runExport(plan, out, { writer: "test" });
  const { manifest } = (await readManifest(out))!;
  return await differences(golden, async () =>
    loadModel({ dir: out, tags, ort: loadOrt(), rowSource: await PartitionRows.open(out, manifest) }),
  );
}
