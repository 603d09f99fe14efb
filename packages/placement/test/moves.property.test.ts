import assert from "node:assert/strict";
import {
  isSamePlacement,
  movedCount,
  moves,
  type PartitionMap,
  place,
  replicasOf,
  towards,
} from "@shardserve/placement";
import fc from "fast-check";

const NAME = { model: "ctr", version: 3 };
const shardsOf = (first: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({ id: `shard-${first + i}`, weight: 1, zone: "" }));

const anyChange = fc
  .record({
    before: fc.integer({ min: 2, max: 7 }),
    first: fc.integer({ min: 0, max: 3 }),
    after: fc.integer({ min: 2, max: 7 }),
    partitionCount: fc.integer({ min: 1, max: 80 }),
    replication: fc.integer({ min: 1, max: 2 }),
    partitionsMax: fc.integer({ min: 1, max: 20 }),
    isFresh: fc.boolean(),
  })
  .map(({ before, first, after, partitionCount, replication, partitionsMax, isFresh }) => {
    const from = place(shardsOf(0, before), partitionCount, replication, { ...NAME, generation: 4 });
    const to = place(shardsOf(first, after), partitionCount, replication, {
      ...NAME,
      ...(!isFresh && { previous: from }),
    });
    return { from, to, partitionsMax };
  });

describe("moves in parts", () => {
  it("arrive at the target in the fewest parts; every replica is moved once; a partition is never between two places", () => {
    fc.assert(
      fc.property(anyChange, ({ from, to, partitionsMax }) => {
        const changedCount = moves(from, to).length;
        let at: PartitionMap = from;
        let moved = 0;
        let parts = 0;
        for (let left = changedCount; left > 0; parts++) {
          const { map, leftCount } = towards(at, to, partitionsMax, at.generation + 1);
          assert.ok(moves(at, map).length <= partitionsMax);
          assert.equal(leftCount, Math.max(0, left - partitionsMax));
          assert.equal(leftCount, moves(map, to).length);
          for (let p = 0; p < map.partitionCount; p++) {
            const now = replicasOf(map, p);
            assert.ok([replicasOf(from, p), replicasOf(to, p)].some((row) => row.join() === now.join()));
          }
          assert.deepEqual(map.shards, [...new Set(map.shards)].sort());
          assert.equal(new Set(map.replicas).size, map.shards.length, "every shard that is named holds something");
          moved += movedCount(at, map);
          at = map;
          left = leftCount;
        }
        assert.equal(parts, Math.ceil(changedCount / partitionsMax));
        assert.equal(moved, movedCount(from, to));
        if (changedCount > 0) assert.ok(isSamePlacement({ ...at, generation: 0 }, to));
      }),
    );
  });

  it("levelling brings every shard to its share and moves only what is above it", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(1, 1, 2, 3), { minLength: 3, maxLength: 7 }),
        fc.array(fc.constantFrom(1, 1, 2, 3), { minLength: 7, maxLength: 7 }),
        fc.integer({ min: 20, max: 120 }),
        (before, after, partitionCount) => {
          const shards = shardsOf(0, before.length).map((shard, i) => ({ ...shard, weight: before[i]! }));
          const changed = shards.map((shard, i) => ({ ...shard, weight: after[i]! }));
          const from = place(shards, partitionCount, 1, NAME);
          const to = place(changed, partitionCount, 1, { ...NAME, previous: from, isLevelled: true });
          const weights = changed.reduce((sum, { weight }) => sum + weight, 0);
          const count = (map: PartitionMap, id: string) =>
            [...Array(partitionCount).keys()].filter((p) => replicasOf(map, p).includes(id)).length;
          let least = 0;
          for (const { id, weight } of changed) {
            const share = (partitionCount * weight) / weights;
            assert.ok(count(to, id) >= Math.floor(share + 1e-9), `${id}: ${count(to, id)} of ${share}`);
            least += Math.max(0, Math.floor(share + 1e-9) - count(from, id));
          }
          // What shards lack must move; on top of it at most one each, where shares are no whole numbers.
          assert.ok(movedCount(from, to) <= least + changed.length, `${movedCount(from, to)} moved, ${least} lacked`);
        },
      ),
    );
  });
});
