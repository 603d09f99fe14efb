import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { REPO_DIR } from "@shardserve/testkit";
import { closedLoop, type Send } from "../load/drivers.js";
import { PredictClient } from "../load/predict-client.js";
import { RestClient } from "../load/rest-client.js";
import { criteoKaggleRows, writeDlrm } from "../models/dlrm.js";
import { dlrmInputs, encodeJson, encodeRequest, halfInputs, type Inputs } from "../models/requests.js";
import { Child, SHARDSERVE } from "./child.js";
import { openInProcess } from "./in-process.js";
import { report } from "./machine.js";
import { median } from "./figures.js";

const CALLERS = 16;
/** Callers that a server without batching runs one after another. */
const CROWD = 64;
const DIM = 64;
const VERSION = "1";
/** Throughput is measured: a neighbour that stops the machine for a while must not make the server refuse requests. */
const TARGET_LATENCY_MS = 30_000;

type Row = Record<string, string | number>;

/** A client of one transport, and what it sends. */
interface Caller {
  readonly send: Send;
  readonly replyBytes: number;
  close(): void;
}

/**
 * One node under requests of one row: requests/s over gRPC and REST against bare servers that take and answer the same
 * bytes (grpc-js, node:http), in turns; and what joining requests of 64 callers brings over running each alone, over
 * those transports and, as they and their client bound it, without any.
 */
export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seconds: { type: "string", default: "2" },
      rounds: { type: "string", default: "5" },
      size: { type: "string", default: "256" },
      json: { type: "string" },
    },
  });
  const timing = { durationMs: Number(values.seconds) * 1000, rounds: Number(values.rounds) };
  const work = mkdtempSync(join(tmpdir(), "shardserve-bench-serve-"));
  const rows: Row[] = [];
  try {
    const halfPlusTwo = join(REPO_DIR, "test/fixtures/models/half-plus-two");
    rows.push(...(await measure("half_plus_two", halfPlusTwo, [halfInputs(1)], timing)));
    const tables = criteoKaggleRows(Number(values.size) * 2 ** 20, DIM);
    await writeDlrm(join(work, "dlrm/1"), { tables, dim: DIM, seed: 1 });
    rows.push(...(await measure("DLRM", join(work, "dlrm"), dlrmInputs(1, tables), timing)));
    report("serve", rows, values.json);
    console.log(
      "requests of one row, medians. of echo: reach 0.7; joined/alone: requests/s of 64 callers, joined against not: reach 5 for the DLRM.",
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

interface Timing {
  readonly durationMs: number;
  readonly rounds: number;
}

async function measure(name: string, base: string, inputs: readonly Inputs[], timing: Timing): Promise<Row[]> {
  await using joining = serve(base);
  await using single = serve(base, "--enable-batching=false");
  const [, grpc, rest] = await joining.line(/gRPC on ([^,]+), REST on (\S+)/);
  const [, grpcAlone, restAlone] = await single.line(/gRPC on ([^,]+), REST on (\S+)/);
  const requests = inputs.map(encodeRequest);
  const bodies = inputs.map(encodeJson);
  return [
    await inProcess(name, base, inputs, timing),
    await line(name, "gRPC", timing, {
      served: await grpcCaller(grpc!, requests),
      alone: await grpcCaller(grpcAlone!, requests),
      echo: "./echo-server.js",
      echoed: (port) => grpcCaller(`127.0.0.1:${port}`, requests),
    }),
    await line(name, "REST", timing, {
      served: await restCaller(rest!, bodies),
      alone: await restCaller(restAlone!, bodies),
      echo: "./http-echo.js",
      echoed: (port) => restCaller(`127.0.0.1:${port}`, bodies),
    }),
  ];
}

interface Contest {
  readonly served: Caller;
  /** The server that joins no requests. */
  readonly alone: Caller;
  /** Script of the bare server. */
  readonly echo: string;
  readonly echoed: (port: string) => Promise<Caller>;
}

async function line(model: string, transport: string, timing: Timing, contest: Contest): Promise<Row> {
  const { served, alone } = contest;
  await using server = new Child(fileURLToPath(new URL(contest.echo, import.meta.url)), [String(served.replyBytes)]);
  const [port] = await server.line(/^\d+$/);
  const echoed = await contest.echoed(port);
  const rates = await inTurns({ served, echoed }, CALLERS, timing);
  const crowd = await inTurns({ served, alone, echoed }, CROWD, timing);
  for (const caller of [served, alone, echoed]) caller.close();
  return {
    model,
    transport,
    "requests/s": Math.round(median(rates.served)),
    "of echo": ratio(rates.served, rates.echoed),
    "64 callers/s": Math.round(median(crowd.served)),
    "of echo at 64": ratio(crowd.served, crowd.echoed),
    "alone at 64/s": Math.round(median(crowd.alone)),
    "joined/alone": ratio(crowd.served, crowd.alone),
  };
}

/** The batcher and the engine by themselves: what joining brings where no transport bounds it. */
async function inProcess(model: string, base: string, inputs: readonly Inputs[], timing: Timing): Promise<Row> {
  await using served = await openInProcess(join(base, VERSION), inputs, { isEnabled: true });
  await using alone = await openInProcess(join(base, VERSION), inputs, { isEnabled: false });
  const rates = await inTurns({ served }, CALLERS, timing);
  const crowd = await inTurns({ served, alone }, CROWD, timing);
  return {
    model,
    transport: "none",
    "requests/s": Math.round(median(rates.served)),
    "of echo": "",
    "64 callers/s": Math.round(median(crowd.served)),
    "of echo at 64": "",
    "alone at 64/s": Math.round(median(crowd.alone)),
    "joined/alone": ratio(crowd.served, crowd.alone),
  };
}

/** Requests/s of each contestant in each round; they take turns, so that what a neighbour takes, it takes of all. */
async function inTurns<K extends string>(
  callers: Readonly<Record<K, { readonly send: Send }>>,
  concurrency: number,
  { durationMs, rounds }: Timing,
): Promise<Record<K, number[]>> {
  const names = Object.keys(callers) as K[];
  const rates = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<K, number[]>;
  for (let round = -1; round < rounds; round++) {
    for (const name of names) {
      const { send } = callers[name];
      const run = await closedLoop({ concurrency, durationMs: durationMs / 2, send });
      for (const [text, count] of run.failures) throw new Error(`${count} requests failed: ${text}`);
      if (round >= 0) rates[name].push(run.requestsPerS); // the first one warms up
    }
  }
  return rates;
}

function serve(base: string, ...flags: readonly string[]): Child {
  const common = ["--model-name=m", `--model-base-path=${base}`, "--port=0", "--rest-api-port=0", "--host=127.0.0.1"];
  return new Child(SHARDSERVE, ["serve", ...common, `--target-latency-ms=${TARGET_LATENCY_MS}`, ...flags]);
}

async function grpcCaller(address: string, requests: readonly Buffer[]): Promise<Caller> {
  const client = new PredictClient(address);
  const send = (i: number) => client.predict(requests[i % requests.length]!);
  return { send, replyBytes: (await send(0)).length, close: () => client.close() };
}

async function restCaller(address: string, bodies: readonly string[]): Promise<Caller> {
  const client = new RestClient(`http://${address}/v1/models/m:predict`);
  const send = (i: number) => client.predict(bodies[i % bodies.length]!);
  return { send, replyBytes: (await send(0)).length, close: () => client.close() };
}

function ratio(a: readonly number[], b: readonly number[]): number {
  return Math.round(100 * median(a.map((rate, i) => rate / b[i]!))) / 100;
}
