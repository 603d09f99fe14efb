import assert from "node:assert/strict";
import { isServingError, seededRandom } from "@shardserve/core";
import { fromPlainMap, isSamePlacement, type PlacementShard, place, toPlainMap } from "@shardserve/placement";

const SHARDS: PlacementShard[] = ["a", "b", "c"].map((id) => ({ id, weight: 1, zone: "" }));
const MAP = place(SHARDS, 61, 2, { model: "ctr", version: 3, generation: 7, epoch: 1 });

describe("the plain form of a partition map", () => {
  it("gives the map back", () => {
    assert.deepEqual(fromPlainMap(toPlainMap(MAP), "test"), MAP);
    assert.ok(isSamePlacement(MAP, fromPlainMap({ ...toPlainMap(MAP), generation: 8 }, "test")));
    assert.ok(!isSamePlacement(MAP, place(SHARDS.slice(1), 61, 2, { model: "ctr", version: 3 })));
  });

  it("refuses whatever breaks a rule, naming it", () => {
    const plain = toPlainMap(MAP);
    const cases: [object, RegExp][] = [
      [{ format: 2 }, /format is 2/],
      [{ model: "" }, /model/],
      [{ partitionCount: 2 ** 30 }, /partitionCount/],
      [{ partitionCount: 60 }, /replicas is not 240 bytes/],
      [{ replication: 0 }, /replication/],
      [{ shards: ["a"] }, /shards is not a list/],
      [{ shards: ["a", "c", "b"] }, /shards\[2\] is out of order/],
      [{ shards: ["a", "b", "b"] }, /shards\[2\]/],
      [{ replicas: new Uint8Array(3) }, /replicas/],
      [{ replicas: new Uint8Array(244).fill(9) }, /names shard index/],
      [{ replicas: new Uint8Array(244) }, /names one shard twice/],
    ];
    for (const [change, rule] of cases) {
      assert.throws(
        () => fromPlainMap({ ...plain, ...change }, "maps/ctr/3"),
        (error) =>
          isServingError(error, "INVALID_ARGUMENT") && rule.test(error.message) && /maps\/ctr\/3/.test(error.message),
      );
    }
  });

  it("survives any change of any field", () => {
    const budgetMs = Number(process.env.FUZZ_MS ?? 300);
    const random = seededRandom(4711);
    const pool: unknown[] = [
      null,
      undefined,
      -1,
      0,
      1,
      2 ** 53,
      NaN,
      "x",
      "",
      [],
      ["a"],
      {},
      new Uint8Array(244),
      true,
      1n,
    ];
    const plain = toPlainMap(MAP) as unknown as Record<string, unknown>;
    const fields = Object.keys(plain);
    const endMs = performance.now() + budgetMs;
    while (performance.now() < endMs) {
      const changed = { ...plain };
      for (let i = random.uint32() % 3; i >= 0; i--) {
        changed[fields[random.uint32() % fields.length] as string] = pool[random.uint32() % pool.length];
      }
      const bytes = Uint8Array.from(plain.replicas as Uint8Array);
      bytes[random.uint32() % bytes.length] = random.uint32() & 3;
      if (random.next() < 0.5) changed.replicas = bytes;
      try {
        const map = fromPlainMap(changed, "fuzz");
        assert.equal(map.replicas.length, map.partitionCount * map.replication);
      } catch (error) {
        assert.ok(isServingError(error, "INVALID_ARGUMENT"), String(error));
      }
    }
  });
});
