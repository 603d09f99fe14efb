import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { closedLoop } from "../load/drivers.js";
import { median, round2 } from "./figures.js";
import { type Distribution, drawBatches } from "./lookup-batches.js";
import { type Contestant, CONTESTANTS, Contestants } from "./lookup-contestants.js";
import { Gathers } from "./lookup-gathers.js";
import { DIM, MODEL, ROW_BYTES, TABLES, VERSION, writeVersion } from "./lookup-version.js";
import { report } from "./machine.js";

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
    const directory = join(work, MODEL, String(VERSION));
    const stored = await writeVersion(directory, rowsPerTable);
    await using contestants = await Contestants.start(work, stored, rowsPerTable);
    await using gathers = await Gathers.open(directory, stored, rowsPerTable);
    const loop = {
      durationMs: Number(values.ms),
      rounds: Number(values.rounds),
      inFlight: Number(values["in-flight"]),
    };
    const line = (batchIds: number, ids: Distribution) =>
      measureLine(contestants, gathers, loop, { batchIds, rowsPerTable, ids });
    await line(260, "uniform"); // the first line would pay for the compilers of three processes
    const rows: Record<string, string | number>[] = [];
    for (const batch of values.batches.split(",").map(Number)) {
      for (const ids of ["uniform", "zipf 0.9"] as const) rows.push(await line(batch, ids));
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

interface LoopOptions {
  readonly durationMs: number;
  readonly rounds: number;
  /** Batches in flight at once; 0 = as many as make 4096 rows, at least 4. */
  readonly inFlight: number;
}

/** One line of the table: all columns for one batch size and distribution. */
async function measureLine(
  contestants: Contestants,
  gathers: Gathers,
  loop: LoopOptions,
  of: { readonly batchIds: number; readonly rowsPerTable: number; readonly ids: Distribution },
): Promise<Record<string, string | number>> {
  const { batchIds } = of;
  const batches = drawBatches(batchIds, of.rowsPerTable, of.ids);
  const inFlight = loop.inFlight || Math.max(4, Math.ceil(4096 / batchIds));
  const measure = async (name: Contestant): Promise<number> => {
    const send = (i: number) => contestants.ask(name, batches[i % batches.length]!);
    // After the pause caches and queues fill again.
    await closedLoop({ concurrency: inFlight, durationMs: loop.durationMs / 6, send });
    const result = await closedLoop({ concurrency: inFlight, durationMs: loop.durationMs, send });
    for (const [text, count] of result.failures) throw new Error(`${count} requests failed: ${text}`);
    return (result.requestsPerS * batchIds) / 1e6;
  };
  const rates: Record<Contestant, number[]> = { shard: [], echo: [], lookup: [], redis: [] };
  const loopP99Ms: number[] = [];
  for (const name of CONTESTANTS) await measure(name); // warm-up
  for (let round = 0; round < loop.rounds; round++) {
    for (let k = 0; k < CONTESTANTS.length; k++) {
      const name = CONTESTANTS[(round + k) % CONTESTANTS.length]!;
      if (name === "shard") await contestants.loopDelayMs();
      rates[name].push(await measure(name));
      if (name === "shard") loopP99Ms.push(await contestants.loopDelayMs());
    }
  }
  const ratio = (a: Contestant, b: Contestant) => median(rates[a].map((rate, i) => rate / rates[b][i]!));
  const inside = gathers.measure(batches, loop.durationMs);
  return {
    batch: batchIds,
    ids: of.ids,
    "in flight": inFlight,
    shard: round2(median(rates.shard)),
    lookup: round2(median(rates.lookup)),
    Redis: round2(median(rates.redis)),
    echo: round2(median(rates.echo)),
    "shard/Redis": round2(ratio("shard", "redis")),
    "lookup/Redis": round2(ratio("lookup", "redis")),
    "shard/echo": round2(ratio("shard", "echo")),
    "loop p99 ms": round2(median(loopP99Ms)),
    gather: round2(inside.gather / 1e6),
    "gather/copy": round2(inside.gather / inside.copy),
    "locate+gather/copy": round2(inside.located / inside.copy),
  };
}

function parseMiB(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(MiB|GiB)$/.exec(text);
  if (!match) throw new Error(`--size ${text}: give MiB or GiB, such as 256MiB`);
  return Number(match[1]) * (match[2] === "GiB" ? 1024 : 1);
}
