import { fileURLToPath } from "node:url";
import { systemClock } from "@shardserve/core";
import { proofExpectation, ShardRows } from "@shardserve/lookup";
import { loadOrt } from "@shardserve/native";
import { place } from "@shardserve/placement";
import type { StoredManifest } from "@shardserve/rowstore";
import { RedisServer } from "@shardserve/testkit";
import {
  BufferPool,
  createLookupRequest,
  FramedClient,
  readRowsReply,
  readShardProof,
  type ReplyPayload,
} from "@shardserve/transport";
import { Redis } from "ioredis";
import { Child } from "./child.js";
import { type Batch, redisKey } from "./lookup-batches.js";
import { CLUSTER, MODEL, PARTITIONS, ROW_BYTES, TABLES, VERSION } from "./lookup-version.js";
import { EchoClient } from "./tcp-echo-client.js";

/** Rows that the row cache of `lookup` holds: room for what is in flight, less than comes before a batch is asked again. */
const CACHED_SHARE = 0.02;

/** Who answers for a batch over loopback: each a process of its own, with one connection from here. */
export const CONTESTANTS = ["shard", "echo", "lookup", "redis"] as const;
export type Contestant = (typeof CONTESTANTS)[number];

/** The contestants of `bench lookup`, and how a batch is asked of each. */
export class Contestants implements AsyncDisposable {
  readonly #shard: Child;
  readonly #echo: Child;
  readonly #redis: RedisServer;
  readonly #pool = new BufferPool();
  readonly #client: FramedClient;
  readonly #rows: ShardRows;
  readonly #echoClient: EchoClient;
  readonly #redisClient: Redis;
  #channel = 0;
  #lastToken = 0;

  /** @param repository  folder that has the version */
  static async start(repository: string, stored: StoredManifest, rowsPerTable: number): Promise<Contestants> {
    loadOrt();
    const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
    const shard = new Child(here("lookup-shard.js"), [repository, CLUSTER, MODEL, String(VERSION), String(PARTITIONS)]);
    const echo = new Child(here("tcp-echo.js"), []);
    const [shardPort, echoPort] = await Promise.all([shard.line(/^(\d+)$/), echo.line(/^(\d+)$/)]);
    const processes = { shard, echo, redis: await RedisServer.start() };
    const cacheBytes = TABLES * rowsPerTable * ROW_BYTES * CACHED_SHARE;
    const ports = { shard: Number(shardPort[1]), echo: Number(echoPort[1]) };
    const contestants = new Contestants(processes, ports, stored, cacheBytes);
    await contestants.#connect();
    await contestants.#fillRedis(rowsPerTable);
    return contestants;
  }

  private constructor(
    processes: { readonly shard: Child; readonly echo: Child; readonly redis: RedisServer },
    ports: { readonly shard: number; readonly echo: number },
    stored: StoredManifest,
    cacheBytes: number,
  ) {
    this.#shard = processes.shard;
    this.#echo = processes.echo;
    this.#redis = processes.redis;
    const host = "127.0.0.1";
    const limits = { replyBytesMax: 64 * 2 ** 20 };
    const address = { host, port: ports.shard };
    this.#client = new FramedClient({ address, peer: "bench", limits, pool: this.#pool });
    this.#rows = new ShardRows({
      expectation: proofExpectation(CLUSTER, MODEL, VERSION, stored),
      tables: stored.manifest.tables,
      partitionCount: PARTITIONS,
      directory: { shard: () => ({ machine: "", addresses: { tcp: `${host}:${ports.shard}` } }) },
      machine: "",
      peer: "bench",
      cacheBytes,
    });
    this.#echoClient = new EchoClient(ports.echo);
    this.#redisClient = new Redis({
      host,
      port: this.#redis.port,
      lazyConnect: true,
      enableAutoPipelining: true, // calls of one turn leave in one write
    });
  }

  async #connect(): Promise<void> {
    await this.#client.start();
    await this.#client.whenReady();
    const open = { cluster: CLUSTER, model: MODEL, version: VERSION };
    this.#channel = readShardProof(await this.#client.call("open", open)).channel;
    const identity = { model: MODEL, version: VERSION, generation: 1 };
    this.#rows.setMap(place([{ id: "bench", weight: 1, zone: "" }], PARTITIONS, 1, identity));
    await this.#rows.whenReady({ deadlineMs: systemClock.nowMs() + 10_000 });
    await this.#redisClient.connect();
  }

  async #fillRedis(rowsPerTable: number): Promise<void> {
    const value = Buffer.alloc(ROW_BYTES, 7);
    for (let table = 0; table < TABLES; table++) {
      for (let id = 0; id < rowsPerTable; ) {
        const pairs: Buffer[] = [];
        for (const end = Math.min(id + 2000, rowsPerTable); id < end; id++) pairs.push(redisKey(table, id), value);
        await this.#redisClient.mset(pairs);
      }
    }
  }

  /** Asks for the rows of a batch and waits for them. */
  ask(contestant: Contestant, batch: Batch): Promise<unknown> {
    switch (contestant) {
      case "shard":
        return this.#askShard(batch);
      case "echo":
        return this.#echoClient.call(batch.lanes.length * 4, (batch.lanes.length / 2) * ROW_BYTES);
      case "lookup":
        return this.#askRows(batch);
      case "redis":
        return this.#askRedis(batch);
    }
  }

  /** 99th percentile of the delay of the shard's event loop since the last call. */
  async loopDelayMs(): Promise<number> {
    const token = String(++this.#lastToken);
    this.#shard.process.stdin?.write(`${token}\n`);
    const [, p99] = await this.#shard.line(new RegExp(`^loop ${token} (\\S+) (\\S+)$`));
    return Number(p99);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#echoClient.close();
    this.#redisClient.disconnect();
    await this.#rows.close();
    await this.#client.close();
    await this.#redis[Symbol.asyncDispose]();
    await this.#shard[Symbol.asyncDispose]();
    await this.#echo[Symbol.asyncDispose]();
  }

  /** With callbacks, as whole lookups ask: one promise more for each request would be the benchmark's cost, not the client's. */
  #askShard({ tables: asked, counts, lanes }: Batch): Promise<void> {
    const header = { channel: this.#channel, remainingMs: 10_000, generation: 1, epoch: 0 };
    const { payload, words, idsAt } = createLookupRequest(header, asked, counts, (bytes) => this.#pool.acquire(bytes));
    words.set(lanes, idsAt);
    return new Promise((resolve, reject) => {
      const onReply = (reply: ReplyPayload) => {
        const rows = readRowsReply(reply.bytes);
        let refused = 0;
        for (let k = 0; k < rows.tableCount; k++) if (rows.status(k) !== 0) refused++;
        reply.release();
        if (refused > 0) reject(new Error(`the shard refused ${refused} tables`));
        else resolve();
      };
      this.#client.ask(payload, { deadlineMs: systemClock.nowMs() + 10_000 }, onReply, reject);
    });
  }

  async #askRows({ requests }: Batch): Promise<void> {
    (await this.#rows.lookup(requests)).release();
  }

  async #askRedis({ redisKeys }: Batch): Promise<void> {
    const answers = await Promise.all(redisKeys.map((keys) => this.#redisClient.mgetBuffer(keys)));
    for (const rows of answers) if (rows.includes(null)) throw new Error("Redis lacks a row");
  }
}
