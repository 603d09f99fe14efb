import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { seededRandom, systemClock } from "@shardserve/core";
import { proofExpectation, ShardRows } from "@shardserve/lookup";
import { allocate, loadOrt } from "@shardserve/native";
import { place } from "@shardserve/placement";
import {
  type Manifest,
  PartitionFileWriter,
  partitionLayout,
  partitionPath,
  PartitionSet,
  readManifest,
  RowKernel,
  type StoredManifest,
  type TableInfo,
  writeManifest,
} from "@shardserve/rowstore";
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
import { closedLoop } from "../load/drivers.js";
import { type IdSource, uniformIds, zipfIds } from "../load/ids.js";
import { Child } from "./child.js";
import { report } from "./machine.js";

const TABLES = 26;
const DIM = 64;
const ROW_BYTES = DIM * 4;
const PARTITIONS = 61;
const CLUSTER = "bench";
const MODEL = "bench";
const VERSION = 1;
/** Distinct batches that a measurement goes through: more than CPU caches or the row cache hold, so that most rows are fetched. */
const BATCHES = 1024;
/** Rows that the row cache of `lookup` holds: room for what is in flight, less than comes before a batch is asked again. */
const CACHED_SHARE = 0.02;
const REDIS_KEYS_PER_CALL = 1024;

/**
 * Rows per second of one shard, a process of its own, over loopback TCP, beside pipelined Redis and a raw TCP echo of the
 * same bytes; and of the gather inside a process beside the same kernel on anonymous memory. 26 tables of 64 float32.
 *
 * The contestants of a line take turns in every round, with the same batches and as many in flight; a ratio is taken of each
 * round's pair, and the median of `--rounds` of them counts: what a noisy neighbour takes, it takes of both.
 */
export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      size: { type: "string", default: "256MiB" },
      ms: { type: "string", default: "300" },
      rounds: { type: "string", default: "9" },
      "in-flight": { type: "string", default: "0" },
      batches: { type: "string", default: "26,260,2600,26000" },
      dir: { type: "string", default: tmpdir() },
      json: { type: "string" },
    },
  });
  const rowsPerTable = Math.floor((parseMiB(values.size) * 2 ** 20) / ROW_BYTES / TABLES);
  const work = await mkdtemp(join(values.dir, "shardserve-bench-lookup-"));
  try {
    console.log(`${TABLES} tables of ${rowsPerTable} rows, ${DIM} float32 each: writing partitions, filling Redis`);
    const stored = await writeVersion(join(work, MODEL, String(VERSION)), rowsPerTable);
    await using bench = await Bench.start(work, stored, rowsPerTable, {
      durationMs: Number(values.ms),
      rounds: Number(values.rounds),
      inFlight: Number(values["in-flight"]),
    });
    await bench.line(260, "uniform"); // the first line would pay for the compilers of three processes
    const rows: Record<string, string | number>[] = [];
    for (const batch of values.batches.split(",").map(Number)) {
      for (const ids of ["uniform", "zipf 0.9"] as const) rows.push(await bench.line(batch, ids));
    }
    report("lookup", rows, values.json);
    console.log(
      "million rows/s, medians. shard/Redis: reach 10; shard/echo: reach 0.5; gather/copy: reach 0.8. Each contestant has one" +
        " connection and 'in flight' batches on it. 'shard' is the frame client, 'lookup' a whole lookup with a cache of 2 % of the rows: dedup," +
        " frames, and rows written into the buffer that a run reads. 'loop p99': delay of the shard's event loop under 'shard'. Redis: MGET of at most 1024 keys, auto-pipelined. Echo:" +
        " the request's and the reply's bytes without frames, one write for each reply.",
    );
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

type Contestant = "shard" | "echo" | "lookup" | "redis";
type GatherKind = "copy" | "gather" | "located";

interface Batch {
  /** Per table as many ids as fit. */
  readonly requests: readonly { readonly table: number; readonly ids: BigInt64Array }[];
  /** Per table its index, and how many ids. */
  readonly tables: readonly number[];
  readonly counts: readonly number[];
  /** The ids of all tables behind one another, as pairs of 32-bit lanes. */
  readonly lanes: Int32Array;
  readonly redisKeys: readonly Buffer[][];
}

interface LoopOptions {
  readonly durationMs: number;
  readonly rounds: number;
  /** Batches in flight at once; 0 = as many as make 4096 rows, at least 4. */
  readonly inFlight: number;
}

class Bench implements AsyncDisposable {
  readonly #rowsPerTable: number;
  readonly #loop: LoopOptions;
  readonly #shard: Child;
  readonly #echo: Child;
  readonly #redis: RedisServer;
  readonly #client: FramedClient;
  readonly #allocate: (bytes: number) => Uint8Array;
  readonly #rows: ShardRows;
  readonly #echoClient: EchoClient;
  readonly #redisClient: Redis;
  readonly #set: PartitionSet;
  readonly #anonymous = { rowCount: 0, memory: allocate(0) };
  #channel = 0;
  #lastToken = 0;

  static async start(work: string, stored: StoredManifest, rowsPerTable: number, loop: LoopOptions): Promise<Bench> {
    loadOrt();
    const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
    const shard = new Child(here("lookup-shard.js"), [work, CLUSTER, MODEL, String(VERSION), String(PARTITIONS)]);
    const echo = new Child(here("tcp-echo.js"), []);
    const [shardPort, echoPort] = await Promise.all([shard.line(/^(\d+)$/), echo.line(/^(\d+)$/)]);
    const redis = await RedisServer.start();
    const bench = new Bench(shard, echo, redis, stored, rowsPerTable, loop, Number(shardPort[1]), Number(echoPort[1]));
    await bench.#prepare(work, stored);
    return bench;
  }

  private constructor(
    shard: Child,
    echo: Child,
    redis: RedisServer,
    stored: StoredManifest,
    rowsPerTable: number,
    loop: LoopOptions,
    shardPort: number,
    echoPort: number,
  ) {
    this.#shard = shard;
    this.#echo = echo;
    this.#redis = redis;
    this.#rowsPerTable = rowsPerTable;
    this.#loop = loop;
    const limits = { replyBytesMax: 64 * 2 ** 20 };
    const pool = new BufferPool();
    this.#allocate = (bytes) => pool.acquire(bytes);
    this.#client = new FramedClient({ address: { host: "127.0.0.1", port: shardPort }, peer: "bench", limits, pool });
    this.#rows = new ShardRows({
      expectation: proofExpectation(CLUSTER, MODEL, VERSION, stored),
      tables: stored.manifest.tables,
      partitionCount: PARTITIONS,
      directory: { shard: () => ({ machine: "", addresses: { tcp: `127.0.0.1:${shardPort}` } }) },
      machine: "",
      peer: "bench",
      cacheBytes: TABLES * rowsPerTable * ROW_BYTES * CACHED_SHARE,
    });
    this.#echoClient = new EchoClient(echoPort);
    this.#redisClient = new Redis({
      host: "127.0.0.1",
      port: redis.port,
      lazyConnect: true,
      enableAutoPipelining: true, // calls of one turn leave in one write
    });
    this.#set = new PartitionSet(stored.manifest.tables, PARTITIONS, { syncBytesMax: Number.POSITIVE_INFINITY });
  }

  async #prepare(work: string, stored: StoredManifest): Promise<void> {
    await this.#client.start();
    await this.#client.whenReady();
    const open = { cluster: CLUSTER, model: MODEL, version: VERSION };
    this.#channel = readShardProof(await this.#client.call("open", open)).channel;
    const identity = { model: MODEL, version: VERSION, generation: 1 };
    this.#rows.setMap(place([{ id: "bench", weight: 1, zone: "" }], PARTITIONS, 1, identity));
    await this.#rows.whenReady({ deadlineMs: systemClock.nowMs() + 10_000 });
    for (let p = 0; p < PARTITIONS; p++) {
      await this.#set.add(p, join(work, MODEL, String(VERSION), partitionPath(p)), { verify: false });
    }
    const rowCount = stored.manifest.tables.length * this.#rowsPerTable;
    this.#anonymous.rowCount = rowCount;
    this.#anonymous.memory = allocate(rowCount * ROW_BYTES);
    this.#anonymous.memory.bytes.fill(1); // a page that was never written is shared: not what is compared
    await this.#redisClient.connect();
    await this.#fillRedis();
  }

  async #fillRedis(): Promise<void> {
    const value = Buffer.alloc(ROW_BYTES, 7);
    for (let table = 0; table < TABLES; table++) {
      for (let id = 0; id < this.#rowsPerTable; ) {
        const pairs: Buffer[] = [];
        for (const end = Math.min(id + 2000, this.#rowsPerTable); id < end; id++)
          pairs.push(redisKey(table, id), value);
        await this.#redisClient.mset(pairs);
      }
    }
  }

  /** One line of the table: all columns for one batch size and distribution. */
  async line(batchIds: number, distribution: "uniform" | "zipf 0.9"): Promise<Record<string, string | number>> {
    const batches = this.#batches(batchIds, distribution);
    const inFlight = this.#loop.inFlight || Math.max(4, Math.ceil(4096 / batchIds));
    const contestants: Readonly<Record<Contestant, (i: number) => Promise<unknown>>> = {
      shard: (i) => this.#askShard(at(batches, i)),
      echo: () => this.#echoClient.call(batchIds * 8, batchIds * ROW_BYTES),
      lookup: (i) => this.#askRows(at(batches, i)),
      redis: (i) => this.#askRedis(at(batches, i)),
    };
    const names = Object.keys(contestants) as Contestant[];
    const rates: Record<Contestant, number[]> = { shard: [], echo: [], lookup: [], redis: [] };
    const loopP99Ms: number[] = [];
    for (const name of names) await this.#measure(batchIds, inFlight, contestants[name]); // warm-up
    for (let round = 0; round < this.#loop.rounds; round++) {
      for (let k = 0; k < names.length; k++) {
        const name = names[(round + k) % names.length] as Contestant;
        if (name === "shard") await this.#loopDelayMs();
        rates[name].push((await this.#measure(batchIds, inFlight, contestants[name])) / 1e6);
        if (name === "shard") loopP99Ms.push(await this.#loopDelayMs());
      }
    }
    const ratio = (a: Contestant, b: Contestant) => median(rates[a].map((rate, i) => rate / (rates[b][i] as number)));
    const gathers = this.#measureGathers(batches);
    return {
      batch: batchIds,
      ids: distribution,
      "in flight": inFlight,
      shard: round2(median(rates.shard)),
      lookup: round2(median(rates.lookup)),
      Redis: round2(median(rates.redis)),
      echo: round2(median(rates.echo)),
      "shard/Redis": round2(ratio("shard", "redis")),
      "lookup/Redis": round2(ratio("lookup", "redis")),
      "shard/echo": round2(ratio("shard", "echo")),
      "loop p99 ms": round2(median(loopP99Ms)),
      gather: round2(gathers.gather / 1e6),
      "gather/copy": round2(gathers.gather / gathers.copy),
      "locate+gather/copy": round2(gathers.located / gathers.copy),
    };
  }

  /** 99th percentile of the delay of the shard's event loop since the last call. */
  async #loopDelayMs(): Promise<number> {
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
    await this.#set.close();
    await this.#redis[Symbol.asyncDispose]();
    await this.#shard[Symbol.asyncDispose]();
    await this.#echo[Symbol.asyncDispose]();
  }

  #batches(batchIds: number, distribution: "uniform" | "zipf 0.9"): Batch[] {
    const random = seededRandom(batchIds);
    const source: IdSource =
      distribution === "uniform" ? uniformIds(this.#rowsPerTable, random) : zipfIds(this.#rowsPerTable, 0.9, random);
    const perTable = Math.max(1, Math.floor(batchIds / TABLES));
    const count = Math.max(4, Math.min(BATCHES, Math.floor(400_000 / batchIds)));
    return Array.from({ length: count }, () => {
      const requests = Array.from({ length: TABLES }, (_, table) => ({
        table,
        ids: BigInt64Array.from({ length: perTable }, () => BigInt(source())),
      }));
      const keys = requests.flatMap(({ table, ids }) => Array.from(ids, (id) => redisKey(table, Number(id))));
      const redisKeys: Buffer[][] = [];
      for (let i = 0; i < keys.length; i += REDIS_KEYS_PER_CALL) redisKeys.push(keys.slice(i, i + REDIS_KEYS_PER_CALL));
      const lanes = new Int32Array(perTable * TABLES * 2);
      requests.forEach(({ ids }, table) => lanes.set(new Int32Array(ids.buffer), table * perTable * 2));
      const tables = requests.map(({ table }) => table);
      const counts = requests.map(({ ids }) => ids.length);
      return { requests, tables, counts, lanes, redisKeys };
    });
  }

  async #measure(batchIds: number, concurrency: number, send: (i: number) => Promise<unknown>): Promise<number> {
    const { durationMs } = this.#loop;
    await closedLoop({ concurrency, durationMs: durationMs / 6, send }); // after the pause, caches and queues fill again
    const result = await closedLoop({ concurrency, durationMs, send });
    for (const [text, count] of result.failures) throw new Error(`${count} requests failed: ${text}`);
    return result.requestsPerS * batchIds;
  }

  /** With callbacks, as whole lookups ask: one promise more for each request would be the benchmark's cost, not the client's. */
  #askShard({ tables: asked, counts, lanes }: Batch): Promise<void> {
    const header = { channel: this.#channel, remainingMs: 10_000, generation: 1, epoch: 0 };
    const { payload, words, idsAt } = createLookupRequest(header, asked, counts, this.#allocate);
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

  /**
   * Rows/s of the kernel on anonymous memory, on mapped partitions, and of the ids' way to indexes and rows. They take
   * turns, batch by batch.
   */
  #measureGathers(batches: readonly Batch[]): Record<GatherKind, number> {
    const table = RowKernel.table(this.#anonymous.memory, this.#anonymous.rowCount, ROW_BYTES);
    const kernel = RowKernel.shared();
    const copied = batches.map((batch) => this.#indexes(batch, "copy"));
    const located = batches.map((batch) => this.#indexes(batch, "located"));
    const count = (copied[0] as BigInt64Array).length;
    const output = Buffer.allocUnsafeSlow(count * ROW_BYTES);
    const runs: Readonly<Record<GatherKind, (i: number) => void>> = {
      copy: (i) => kernel.gatherSync(table, copied[i] as BigInt64Array, 0, count, output),
      gather: (i) => void this.#set.gather(ROW_BYTES, located[i] as BigInt64Array, 0, count, output),
      located: (i) => {
        const indexes = this.#locate(batches[i] as Batch, located[i] as BigInt64Array);
        void this.#set.gather(ROW_BYTES, indexes, 0, count, output);
      },
    };
    const kinds = Object.keys(runs) as GatherKind[];
    const spentMs: Record<GatherKind, number> = { copy: 0, gather: 0, located: 0 };
    let rounds = 0;
    const run = (untilMs: number) => {
      for (rounds = 0; performance.now() < untilMs; rounds++) {
        for (let k = 0; k < kinds.length; k++) {
          const kind = kinds[(rounds + k) % kinds.length] as GatherKind;
          const batch = (rounds * 7 + k * 11) % batches.length; // another one each time: none finds its rows in the cache
          const startMs = performance.now();
          runs[kind](batch);
          spentMs[kind] += performance.now() - startMs;
        }
      }
    };
    run(performance.now() + this.#loop.durationMs / 2);
    for (const kind of kinds) spentMs[kind] = 0;
    run(performance.now() + this.#loop.durationMs * 3);
    table.dispose();
    const rate = (kind: GatherKind) => (rounds * count * 1000) / spentMs[kind];
    return { copy: rate("copy"), gather: rate("gather"), located: rate("located") };
  }

  #indexes(batch: Batch, kind: GatherKind): BigInt64Array {
    if (kind !== "copy")
      return this.#locate(batch, new BigInt64Array(batch.requests.length * batch.requests[0]!.ids.length));
    const first = (table: number) => BigInt(table * this.#rowsPerTable);
    return BigInt64Array.from(batch.requests.flatMap(({ table, ids }) => Array.from(ids, (id) => first(table) + id)));
  }

  /** As the shard does it: the ids of all tables lie behind one another, as in a frame. */
  #locate({ requests, lanes }: Batch, indexes: BigInt64Array): BigInt64Array {
    let at = 0;
    for (const { table, ids } of requests) {
      if (this.#set.locate(table, lanes, indexes, at, at, at + ids.length) >= 0) throw new Error("an id was refused");
      at += ids.length;
    }
    return indexes;
  }
}

/** Sends (request bytes, reply bytes) and waits for that many bytes: what loopback TCP in Node leaves to anybody. */
class EchoClient {
  readonly #socket: Socket;
  readonly #waiting: { leftBytes: number; readonly resolve: () => void }[] = [];

  constructor(port: number) {
    const buffer = Buffer.allocUnsafeSlow(256 * 1024);
    this.#socket = connect({
      port,
      host: "127.0.0.1",
      noDelay: true,
      onread: { buffer, callback: (byteCount) => this.#take(byteCount) },
    });
  }

  call(requestBytes: number, replyBytes: number): Promise<void> {
    const request = Buffer.alloc(8 + requestBytes);
    request.writeUInt32LE(requestBytes, 0);
    request.writeUInt32LE(replyBytes, 4);
    this.#socket.write(request);
    return new Promise((resolve) => this.#waiting.push({ leftBytes: replyBytes, resolve }));
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(byteCount: number): boolean {
    let left = byteCount;
    for (let head = this.#waiting[0]; head && left > 0; head = this.#waiting[0]) {
      const taken = Math.min(left, head.leftBytes);
      head.leftBytes -= taken;
      left -= taken;
      if (head.leftBytes > 0) break;
      this.#waiting.shift();
      head.resolve();
    }
    return true;
  }
}

/** A version whose rows are arbitrary: nobody reads them, they are only moved. */
async function writeVersion(directory: string, rowsPerTable: number): Promise<StoredManifest> {
  await mkdir(join(directory, "partitions"), { recursive: true });
  const tables = Array.from({ length: TABLES }, (_, i): TableInfo => {
    const shape = { rows: rowsPerTable, rowShape: [DIM], dim: DIM, rowBytes: ROW_BYTES };
    return { name: `t${i}`, checkpointKey: `t${i}`, dtype: "float32", rowDtype: "same", ...shape };
  });
  const layout = partitionLayout(tables, PARTITIONS);
  const files: Manifest["files"][number][] = [];
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const path = partitionPath(partition);
    const writer = await PartitionFileWriter.create(join(directory, path), partition, layout);
    for (const { rowCount } of layout.sections) {
      await writer.append(new Uint8Array(new Float32Array(rowCount * DIM).fill(partition + 0.5).buffer));
    }
    files.push({ path, ...(await writer.finish()) });
  }
  const sourceDigest = "0".repeat(32);
  await writeManifest(directory, {
    writer: "bench",
    sourceDigest,
    partitionCount: PARTITIONS,
    tables,
    lookups: [],
    files,
  });
  return (await readManifest(directory)) as StoredManifest;
}

function redisKey(table: number, id: number): Buffer {
  const key = Buffer.alloc(9);
  key.writeUInt8(table, 0);
  key.writeBigUInt64LE(BigInt(id), 1);
  return key;
}

function at(batches: readonly Batch[], i: number): Batch {
  return batches[i % batches.length] as Batch;
}

function parseMiB(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(MiB|GiB)$/.exec(text);
  if (!match) throw new Error(`--size ${text}: give MiB or GiB, such as 256MiB`);
  return Number(match[1]) * (match[2] === "GiB" ? 1024 : 1);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return ((sorted[(sorted.length - 1) >> 1] as number) + (sorted[sorted.length >> 1] as number)) / 2;
}

function round2(value: number): number {
  return Math.round(value * 100) / 100;
}
