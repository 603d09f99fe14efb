import assert from "node:assert/strict";
import { ManualClock, ServingError, silentLogger } from "@shardserve/core";
import { holdingRecord, type KnownMap } from "@shardserve/registry";
import { ShardMetrics } from "../src/metrics.js";
import { Keeper } from "../src/versions/keeper.js";
import { ServedVersions } from "../src/versions/served-version.js";

const SHARD = "a";

/** A map of one partition for this shard, held at a generation: the shard reports which. */
function heldAt(generation: number): KnownMap {
  const placement = { model: "m", version: 1, epoch: 0, partitionCount: 1, replication: 1, shards: [SHARD] };
  const map = { ...placement, generation, replicas: Uint16Array.of(0) };
  return { model: "m", version: 1, record: { enabled: map }, modRevision: generation, held: map };
}

describe("the keeper of a shard", () => {
  // A map that came between the end of a pass and the moment when that was noted was worked on only after the next change:
  // a delta was not proved, and the version waited for it.
  it("works on the newest maps at whatever moment they come", async () => {
    for (let turns = 0; turns < 60; turns++) {
      const published: (number | undefined)[] = [];
      const keeper = new Keeper({
        shard: SHARD,
        instance: "i",
        filesOf: () => {
          throw new ServingError("UNAVAILABLE", "no files: a pass has nothing to wait for");
        },
        capacityBytes: Number.POSITIVE_INFINITY,
        residentBytesMax: Number.POSITIVE_INFINITY,
        deltaBytesMax: Number.POSITIVE_INFINITY,
        dropAfterMs: 0,
        loadsMax: 1,
        moveBytesPerSecond: Number.POSITIVE_INFINITY,
        retryMs: 1000,
        keys: {
          set: (key, value) => {
            published.push(holdingRecord.decode(value, key).heldGeneration);
            return Promise.resolve();
          },
          delete: () => Promise.resolve(),
        },
        versions: new ServedVersions(),
        metrics: new ShardMetrics(),
        clock: new ManualClock(),
        logger: silentLogger,
      });
      keeper.setMaps([heldAt(1)]);
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      keeper.setMaps([heldAt(2)]);
      await keeper.whenIdle();
      assert.equal(published.at(-1), 2, `the second map came ${turns} turns after the first`);
      await keeper.close();
    }
  });
});
