import assert from "node:assert/strict";
import { isServingError, seededRandom } from "@shardserve/core";
import { place } from "@shardserve/placement";
import {
  aspiredKey,
  aspiredRecord,
  executorKey,
  executorRecord,
  holdingKey,
  holdingRecord,
  leaderRecord,
  MapFollower,
  mapKey,
  mapRecord,
  MemoryRegistry,
  parseKey,
  shardKey,
  type ShardRecord,
  shardRecord,
  versionKey,
  versionRecord,
} from "@shardserve/registry";
import { eventually } from "@shardserve/testkit";

const SHARD: ShardRecord = {
  id: "s/1",
  instance: "i",
  machine: "m",
  addresses: { tcp: "127.0.0.1:1", unix: "/run/s" },
  zone: "z",
  weight: 1.5,
  capacityBytes: 2 ** 40,
  isDraining: false,
};
const MAP = place(
  ["a", "b", "s/1"].map((id) => ({ id, weight: 1, zone: "" })),
  61,
  2,
  { model: "ctr", version: 3, generation: 4 },
);

const EXAMPLES = [
  [shardRecord, SHARD],
  [
    holdingRecord,
    {
      instance: "i",
      manifestDigest: "ab",
      epoch: 0,
      partitions: [0, 5],
      digests: ["aa", "bb"],
      error: { code: "PARTITION_INVALID", message: "block 3" },
      isDeltaError: true,
    },
  ],
  [
    executorRecord,
    {
      id: "e",
      instance: "i",
      addresses: {},
      zone: "",
      serving: [{ model: "ctr", version: 3, state: "available", memoryBytes: 2 ** 33 }],
    },
  ],
  [aspiredRecord, { policy: { kind: "specific", versions: [1, 2] }, replication: 2 }],
  [aspiredRecord, { policy: { kind: "latest", count: 1 } }],
  [versionRecord, { state: "retiring", manifestDigest: "ab", partitionCount: 61, bytes: 2 ** 43, changedAtMs: 1.5 }],
  [
    versionRecord,
    {
      state: "failed",
      manifestDigest: "ab",
      partitionCount: 61,
      bytes: 1,
      changedAtMs: 1,
      error: { code: "X", message: "m", shard: "s" },
    },
  ],
  [mapRecord, { enabled: MAP, staged: { ...MAP, generation: 5 } }],
  [mapRecord, {}],
  [leaderRecord, { id: "a", instance: "b" }],
] as const;

describe("cluster keys", () => {
  it("name what they were made of, slashes and all", () => {
    for (const model of ["ctr", "a/b", "ünïcode %2F", "..", "versions"]) {
      assert.deepEqual(parseKey(shardKey(model)), { kind: "shard", id: model });
      assert.deepEqual(parseKey(executorKey(model)), { kind: "executor", id: model });
      assert.deepEqual(parseKey(holdingKey("s/1", model, 0)), { kind: "holding", shard: "s/1", model, version: 0 });
      assert.deepEqual(parseKey(aspiredKey(model)), { kind: "aspired", model });
      assert.deepEqual(parseKey(versionKey(model, 7)), { kind: "version", model, version: 7 });
      assert.deepEqual(parseKey(mapKey(model, 2 ** 53 - 1)), { kind: "map", model, version: 2 ** 53 - 1 });
    }
    for (const key of [
      "",
      "shards/",
      "shards/a/b",
      "maps/m/01",
      "maps/m/-1",
      "maps/m/99999999999999999",
      "models/m",
      "models/m/versions/x",
      "other/a",
      "shards/%",
    ]) {
      assert.equal(parseKey(key), undefined, key);
    }
    assert.throws(
      () => mapKey("m", 1.5),
      (error) => isServingError(error, "INVALID_ARGUMENT"),
    );
    assert.throws(
      () => shardKey(""),
      (error) => isServingError(error, "INVALID_ARGUMENT"),
    );
  });
});

describe("cluster records", () => {
  it("come back as they were written", () => {
    for (const [codec, record] of EXAMPLES) {
      assert.deepEqual(codec.decode((codec as { encode(r: unknown): Uint8Array }).encode(record), "key"), record);
    }
  });

  it("are refused with the key and the field when ill-formed", () => {
    const bytes = shardRecord.encode({ ...SHARD, weight: 0 });
    assert.throws(
      () => shardRecord.decode(bytes, "shards/x"),
      (error) => isServingError(error, "INVALID_ARGUMENT") && /shards\/x: weight/.test(error.message),
    );
    const holding = { instance: "i", manifestDigest: "ab", epoch: 0, partitions: [0, 5], digests: ["aa"] };
    assert.throws(() => holdingRecord.decode(holdingRecord.encode(holding), "k"), /digests has 1 of 2/);
  });

  it("survive flipped bytes (fuzz)", () => {
    const endMs = performance.now() + Number(process.env.FUZZ_MS ?? 300);
    const random = seededRandom(99);
    const encoded = EXAMPLES.map(
      ([codec, record]) => [codec, (codec as { encode(r: unknown): Uint8Array }).encode(record)] as const,
    );
    while (performance.now() < endMs) {
      for (const [codec, original] of encoded) {
        const bytes = Uint8Array.from(original);
        for (let i = random.uint32() % 4; i >= 0; i--) bytes[random.uint32() % bytes.length] = random.uint32();
        try {
          codec.decode(random.next() < 0.2 ? bytes.subarray(0, random.uint32() % bytes.length) : bytes, "fuzz");
        } catch (error) {
          assert.ok(isServingError(error, "INVALID_ARGUMENT", "FRAME_INVALID"), String((error as Error).stack));
        }
      }
    }
  });
});

describe("MapFollower", () => {
  it("follows enabled maps and shards, keeps what is unreadable or gone but named", async () => {
    const registry = new MemoryRegistry();
    const follower = new MapFollower(registry);
    follower.start();
    await follower.reach();
    assert.deepEqual(follower.models(), []);
    const put = (key: string, value: Uint8Array) => registry.txn([], [{ put: key, value }]);
    await put(mapKey("ctr", 3), mapRecord.encode({ staged: MAP }));
    await put(shardKey("s/1"), shardRecord.encode(SHARD));
    await eventually(() => follower.shard("s/1")?.isAlive === true);
    assert.equal(follower.map("ctr", 3), undefined, "staged is not for executors");
    await put(mapKey("ctr", 3), mapRecord.encode({ enabled: MAP }));
    await eventually(() => follower.map("ctr", 3) !== undefined);
    const map = follower.map("ctr", 3);
    assert.deepEqual([follower.models(), follower.versions("ctr"), map?.generation], [["ctr"], [3], 4]);
    await put(mapKey("ctr", 3), mapRecord.encode({ enabled: MAP, staged: { ...MAP, generation: 5 } }));
    await put(mapKey("ctr", 12), mapRecord.encode({ enabled: { ...MAP, version: 12 } }));
    await eventually(() => follower.versions("ctr").join() === "3,12");
    assert.equal(follower.map("ctr", 3), map, "the same object while the enabled map is the same");
    await put(mapKey("ctr", 3), new Uint8Array([1, 2, 3]));
    await put(shardKey("s/1"), new Uint8Array([1, 2, 3]));
    await registry.txn([], [{ delete: shardKey("s/1") }]);
    await eventually(() => follower.shard("s/1")?.isAlive === false);
    assert.equal(follower.map("ctr", 3), map);
    assert.equal(follower.shard("s/1")?.record.addresses.tcp, "127.0.0.1:1");
    await registry.txn([], [{ delete: mapKey("ctr", 3) }, { delete: mapKey("ctr", 12) }]);
    await eventually(() => follower.models().length === 0);
    assert.equal(follower.shard("s/1"), undefined, "dead and named by no map");
    await follower.close();
    await registry.close();
  });
});
