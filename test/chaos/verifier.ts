import assert from "node:assert/strict";
import { darkPartitions, type Holds, imbalanceOf, readClusterState, unprovedReplicas } from "@shardserve/controller";
import { LOAD_FACTOR } from "@shardserve/placement";
import type { Registry } from "@shardserve/registry";
import type { DriftingLoad } from "../cluster/support/drifting-load.js";
import type { LiveCluster } from "../cluster/support/live-cluster.js";
import type { LoadResult } from "../cluster/support/steady-load.js";

/** What a reply said that no version of the model can have answered, as the check of every element words it. */
const WRONG = /^version \d+, (narrow|wide), row \d+|Expected values to be strictly/;

/** The invariants of the data plane, from what clients saw. */
export function checkAnswers({ ok, failures, versions }: LoadResult, during: string): void {
  const wrong = failures.filter((text) => WRONG.test(text));
  assert.deepEqual(wrong.slice(0, 3), [], `${during}: ${wrong.length} wrong or mixed answers`);
  assert.deepEqual(
    failures.slice(0, 3),
    [],
    `${during}: ${failures.length} of ${ok + failures.length} requests failed`,
  );
  assert.ok(ok > 0, `${during}: nothing was asked`);
  assert.ok(versions.size >= 1);
}

/** Every answer was of the one epoch that it claims. */
export function checkEpochs({ epochs, failures }: DriftingLoad, during: string): void {
  assert.deepEqual(failures.slice(0, 3), [], `${during}: ${failures.length} requests failed or answered wrongly`);
  assert.ok(epochs.length > 0, `${during}: nothing was asked`);
}

/** No row of any answer was a default or stale without the reply saying so; here none may be at all. */
export async function checkNoDegradedRows(cluster: LiveCluster, executor: string): Promise<void> {
  const reply = await fetch(`http://${cluster.front(executor).rest}/monitoring/prometheus/metrics`);
  const degraded = (await reply.text())
    .split("\n")
    .filter((line) => /^shardserve_rows_total\{.*source="(default|stale)"/.test(line) && !line.endsWith(" 0"));
  assert.deepEqual(degraded, []);
}

export function isWrong(failure: string): boolean {
  return WRONG.test(failure);
}

/** The invariants of the control plane, the same as those of the simulator and of the controller's unit tests. */
export async function checkControlPlane(registry: Registry, during: string): Promise<void> {
  const { models, shards } = readClusterState((await registry.list("")).entries);
  const weights = new Map(
    [...shards.values()].filter((shard) => !shard.isDraining).map(({ id, weight }) => [id, weight]),
  );
  for (const { versions } of models.values()) {
    for (const { map, holdings } of versions.values()) {
      const enabled = map?.value.enabled;
      if (!enabled) continue;
      const holds: Holds = (id, _model, _version, partition) =>
        shards.has(id) && (holdings.get(id)?.partitions.includes(partition) ?? false);
      assert.deepEqual(unprovedReplicas(undefined, enabled, holds), [], during);
      assert.deepEqual(darkPartitions(enabled, holds), [], during);
      const imbalance = imbalanceOf(enabled, weights);
      assert.ok(imbalance <= LOAD_FACTOR, `${during}: imbalance ${imbalance}`);
    }
  }
}
