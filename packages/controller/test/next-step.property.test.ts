import assert from "node:assert/strict";
import { brokenHistory, type ClusterState, type Holds, unprovedReplicas } from "@shardserve/controller";
import fc from "fast-check";
import { SimCluster } from "./sim-cluster.js";

const SHARDS = ["a", "b", "c", "d", "e"];

const anyCommand = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...SHARDS).map((id) => `join ${id}`) },
  { weight: 2, arbitrary: fc.constantFrom(...SHARDS).map((id) => `leave ${id}`) },
  { weight: 1, arbitrary: fc.constantFrom(...SHARDS).map((id) => `join ${id} draining=yes`) },
  { weight: 1, arbitrary: fc.constantFrom(...SHARDS).map((id) => `drain ${id}`) },
  { weight: 1, arbitrary: fc.constantFrom(...SHARDS).map((id) => `undrain ${id}`) },
  { weight: 1, arbitrary: fc.constantFrom("level ctr", "elect") },
  { weight: 5, arbitrary: fc.constantFrom(...SHARDS).map((id) => `load ${id}`) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 4 }).map((version) => `disk ctr ${version} partitions=7`) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 4 }).map((version) => `undisk ctr ${version}`) },
  { weight: 2, arbitrary: fc.constantFrom(1, 500, 2_000, 70_000).map((ms) => `tick ${ms}`) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 4 }).map((version) => `executor x ctr ${version} available`) },
  { weight: 10, arbitrary: fc.constant("step 1") },
);

const alive = (state: ClusterState, id: string) => state.shards.has(id);

/** What must hold when a map comes into force: every replica that it adds was proved by a living shard at that moment. */
function checkStep(line: string, before: ClusterState): void {
  const [kind, , version] = line.replaceAll(":", "").split(" ");
  if (kind !== "enable" && kind !== "flip") return;
  const found = before.models.get("ctr")?.versions.get(Number(version));
  const map = found?.map?.value.staged;
  assert.ok(found && map, `${line}: nothing was staged`);
  const holds: Holds = (id, _model, _version, partition) =>
    alive(before, id) && (found.holdings.get(id)?.partitions.includes(partition) ?? false);
  assert.deepEqual(unprovedReplicas(found.map.value.enabled, map, holds), [], line);
}

const enabledVersions = (state: ClusterState) =>
  [...(state.models.get("ctr")?.versions ?? [])]
    .filter(([, { map }]) => map?.value.enabled)
    .map(([version]) => version);

describe("nextStep, by random histories", function () {
  this.timeout(120_000);
  it("never enables what is not proved, never stops serving a model, never goes back a generation, and comes to rest", () => {
    fc.assert(
      fc.property(fc.array(anyCommand, { minLength: 10, maxLength: 120 }), (commands) => {
        const cluster = new SimCluster();
        cluster.run(
          "set replication=2 minShards=2 settleMs=1000 replaceAfterMs=60000 retireAfterMs=5000 movesInFlightMax=3",
        );
        for (const command of commands) {
          const before = cluster.state();
          const [line] = cluster.run(command);
          if (!command.startsWith("step") || line === undefined) continue;
          checkStep(line, before);
          const state = cluster.state();
          assert.deepEqual(brokenHistory(before, state), [], line);
        }
        // Everything is well again: the highest version on disk is served by whoever is there, and nothing moves.
        for (const id of SHARDS) cluster.run(`undrain ${id}`);
        for (const id of SHARDS.slice(0, 3)) cluster.run(`join ${id}`);
        cluster.run("disk ctr 5 partitions=7");
        for (let i = 0; i < 16; i++) {
          cluster.run("tick 70000");
          cluster.run("step");
          cluster.run("load");
          cluster.run("step");
          cluster.run("executor x ctr 5 available");
        }
        assert.deepEqual(cluster.run("step"), []);
        assert.deepEqual(enabledVersions(cluster.state()), [5]);
        const { map } = cluster.state().models.get("ctr")?.versions.get(5) ?? {};
        assert.equal(map?.value.staged, undefined);
        assert.ok(map?.value.enabled?.shards.every((id) => alive(cluster.state(), id)));
      }),
      { numRuns: 150 },
    );
  });
});
