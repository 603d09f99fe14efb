import assert from "node:assert/strict";
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import {
  create,
  fromBinary,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus,
  HealthCheckResponseSchema,
  type LookupReply,
  LookupReplySchema,
  type LookupRequest,
  LookupRequestSchema,
  toBinary,
} from "@shardserve/api";
import { DTYPES } from "@shardserve/tensor";
import { eventually, tempDir } from "@shardserve/testkit";
import { element, MODEL, tableOf, TestCluster, VERSION, writeVersion } from "./support/fixture.js";

const TABLES = [
  { ...tableOf("user", 500, 4), name: "tower/user_embedding" },
  tableOf("half", 100, 4, "float16"),
  tableOf("byte", 100, 6, "int8"),
];
const P = 7;

function unary<I, O>(client: Client, path: string, encode: (value: I) => Uint8Array, decode: (bytes: Buffer) => O) {
  return (request: I) =>
    new Promise<O>((resolve, reject) => {
      client.makeUnaryRequest(
        path,
        (value: I) => Buffer.from(encode(value)),
        decode,
        request,
        (error: ServiceError | null, reply?: O) => (error ? reject(error) : resolve(reply as O)),
      );
    });
}

function floats(bytes: Uint8Array = new Uint8Array(0)): Float32Array {
  return new Float32Array(Uint8Array.from(bytes).buffer);
}

function idBytes(...ids: bigint[]): Uint8Array {
  return new Uint8Array(BigInt64Array.from(ids).buffer);
}

describe("RowService", () => {
  it("answers over gRPC what the frames answer, with a status per table", async () => {
    await using folder = await tempDir();
    const stored = await writeVersion(folder.path, TABLES, P);
    await using cluster = new TestCluster(folder.path, stored);
    const shard = await cluster.startShard("s0", { grpcListen: "127.0.0.1:0" });
    const client = new Client(shard.grpcAddress as string, credentials.createInsecure());
    const lookup = unary<LookupRequest, LookupReply>(
      client,
      "/shardserve.v1.RowService/Lookup",
      (value) => toBinary(LookupRequestSchema, value),
      (bytes) => fromBinary(LookupReplySchema, bytes),
    );
    try {
      await assert.rejects(
        lookup(create(LookupRequestSchema, { model: MODEL })),
        /holds no partition of an enabled version/,
      );
      await cluster.publish(["s0"], 1);
      await eventually(() => assert.equal(shard.holdings.get(`${MODEL}/${VERSION}`)?.length, P), { timeoutMs: 5_000 });
      const reply = await lookup(
        create(LookupRequestSchema, {
          model: MODEL,
          tables: [
            { table: "tower/user_embedding", ids: idBytes(499n, 3n, 3n) }, // its name, or its key as below
            { table: "nothing", ids: idBytes(1n) },
            { table: "half", ids: idBytes(2n) },
            { table: "user", ids: idBytes(0n, 500n) },
            { table: "byte", ids: idBytes(5n, 6n) },
          ],
        }),
      );
      const [user, nothing, half, outside, byte] = reply.tables;
      assert.equal(reply.version, BigInt(VERSION));
      assert.equal(reply.generation, 1n);
      assert.deepEqual([user?.status, user?.dim, user?.dtype], [0, 4, DTYPES.float32.tf]);
      const rows = floats(user?.rows);
      assert.deepEqual(
        [...rows],
        [499, 3, 3].flatMap((row) => [0, 1, 2, 3].map((i) => element(0, row, i))),
      );
      assert.deepEqual([nothing?.status, nothing?.message], [5, `${MODEL}/${VERSION} has no table nothing`]);
      assert.deepEqual([half?.status, half?.dtype, half?.rows.length], [0, DTYPES.float16.tf, 8]);
      assert.deepEqual([outside?.status, outside?.message], [3, "indices[1] = 500 is not in [0, 500)"]);
      assert.deepEqual([byte?.status, byte?.dtype], [0, DTYPES.float32.tf]);
      const bytes = floats(byte?.rows);
      assert.ok(Math.abs((bytes[6] as number) - element(2, 6, 0)) < 0.01);
    } finally {
      client.close();
    }
  });

  it("says over grpc.health.v1 and in its metrics how it does", async () => {
    await using folder = await tempDir();
    const stored = await writeVersion(folder.path, TABLES, P);
    await using cluster = new TestCluster(folder.path, stored);
    const shard = await cluster.startShard("s0", { grpcListen: "127.0.0.1:0" });
    const client = new Client(shard.grpcAddress as string, credentials.createInsecure());
    const check = unary(
      client,
      "/grpc.health.v1.Health/Check",
      (value: ReturnType<typeof create<typeof HealthCheckRequestSchema>>) => toBinary(HealthCheckRequestSchema, value),
      (bytes) => fromBinary(HealthCheckResponseSchema, bytes),
    );
    try {
      const { status } = await check(create(HealthCheckRequestSchema, {}));
      assert.equal(status, HealthCheckResponse_ServingStatus.SERVING);
    } finally {
      client.close();
    }
    const map = await cluster.publish(["s0"], 1);
    const source = await cluster.source(map);
    (await source.lookup([{ table: 0, ids: BigInt64Array.of(1n, 2n) }])).release();
    const text = await shard.metrics.registry.metrics();
    assert.match(text, /shardserve_shard_requests_total\{protocol="frame",code="OK"\} 1/);
    assert.match(text, /shardserve_shard_rows_total\{model="ctr"\} 2/);
    assert.match(text, /shardserve_shard_partitions\{model="ctr",version="3"\} 7/);
    assert.match(text, /shardserve_shard_reply_bytes_in_flight 0/);
  });

  it("drains: its key goes first, lookups in flight are finished, later ones go elsewhere", async () => {
    await using folder = await tempDir();
    const stored = await writeVersion(folder.path, TABLES, P);
    await using cluster = new TestCluster(folder.path, stored);
    for (const id of ["s0", "s1"]) await cluster.startShard(id);
    const source = await cluster.source(await cluster.publish(["s0", "s1"], 2), { cacheBytes: 0 });
    const ids = BigInt64Array.from({ length: 500 }, (_, i) => BigInt(i));
    await eventually(() => cluster.shards.get("s1")?.isReady); // the source needs one replica only
    const running = Array.from({ length: 20 }, () => source.lookup([{ table: 0, ids }]));
    const closing = cluster.shards.get("s0")?.close({ drainMs: 2_000 });
    for (const lease of await Promise.all(running)) lease.release();
    await closing;
    assert.equal((await cluster.registry.list("shards/")).entries.length, 1);
    (await source.lookup([{ table: 0, ids }])).release();
  });
});
