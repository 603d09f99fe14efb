import { eventually, type LaunchedProcess, type NetworkHost } from "@shardserve/testkit";
import { startCli, startCliIn, startCliOn } from "./cli.js";

/** Where a process answers requests; host:port. */
export interface Addresses {
  readonly grpc: string;
  readonly rest: string;
}

/** A running process of the program that answers predict requests. */
export interface Front extends Addresses {
  readonly process: LaunchedProcess;
}

/** For a process on a very busy machine to start. */
const START_MS = 60_000;
const PORTS = ["--port=0", "--rest-api-port=0"];
const LOCAL = ["--host=127.0.0.1", ...PORTS];

/** Waits until a process has started; one that does not is ended, so that it slows down nothing that comes after. */
async function started<T>(child: LaunchedProcess, whenReady: Promise<T>): Promise<T> {
  try {
    return await whenReady;
  } catch (error) {
    await child.stop("SIGKILL");
    throw error;
  }
}

/** `shardserve serve` of one model on free ports; resolves when it answers. */
export async function startServe(name: string, basePath: string, ...more: readonly string[]): Promise<Front> {
  const child = startCli("serve", `--model-name=${name}`, `--model-base-path=${basePath}`, ...LOCAL, ...more);
  return { process: child, ...(await addresses(child)) };
}

/** What the processes of a cluster share. */
export interface ClusterPlace {
  /** host:port of etcd */
  readonly etcd: string;
  readonly cluster: string;
  /** BASE of BASE/NAME/VERSION */
  readonly repository: string;
  /** Added to the environment of what is started. */
  readonly env?: Readonly<Record<string, string>>;
  /** Host of a test network on which it starts; absent = the loopback network. */
  readonly host?: NetworkHost;
}

function start(place: ClusterPlace, ...args: readonly string[]): LaunchedProcess {
  const env = place.env ?? {};
  return place.host ? startCliOn(place.host, env, ...args) : startCliIn(env, ...args);
}

function common(place: ClusterPlace): string[] {
  return [`--etcd=${place.etcd}`, `--cluster=${place.cluster}`, `--model-repository=${place.repository}`];
}

/** `shardserve shard` on a free port; resolves when it listens. */
export async function startShard(
  place: ClusterPlace,
  id: string,
  ...more: readonly string[]
): Promise<LaunchedProcess> {
  const listen = more.some((flag) => flag.startsWith("--listen=")) ? [] : ["--listen=127.0.0.1:0"];
  const child = start(place, "shard", ...common(place), `--id=${id}`, ...listen, ...more);
  await started(child, child.waitForOutput(/^shard \S+: rows on /m, { timeoutMs: START_MS }));
  return child;
}

/** `shardserve executor` on free ports; resolves when it listens. */
export async function startExecutor(place: ClusterPlace, id: string, ...more: readonly string[]): Promise<Front> {
  const host = `--host=${place.host?.address ?? "127.0.0.1"}`;
  const child = start(place, "executor", ...common(place), `--id=${id}`, host, ...PORTS, ...more);
  return { process: child, ...(await addresses(child)) };
}

/** `shardserve up` on free ports; resolves when every model is served. */
export async function startUp(repository: string, ...more: readonly string[]): Promise<Front> {
  const child = startCli("up", `--model-repository=${repository}`, ...LOCAL, ...more);
  const found = await addresses(child);
  await started(child, child.waitForOutput(/^ready: /m, { timeoutMs: START_MS }));
  return { process: child, ...found };
}

async function addresses(child: LaunchedProcess): Promise<Addresses> {
  const listening = child.waitForOutput(/: gRPC on ([^,\s]+), REST on (\S+)/, { timeoutMs: START_MS });
  const [, grpc, rest] = await started(child, listening);
  return { grpc: grpc!, rest: rest! };
}

/** Waits until a server says AVAILABLE of a version, over REST. */
export async function whenAvailable(server: Addresses, model: string, version = 1): Promise<void> {
  await eventually(
    async () => {
      const reply = await fetch(`http://${server.rest}/v1/models/${model}/versions/${version}`);
      const text = await reply.text();
      if (!text.includes('"AVAILABLE"')) throw new Error(`${model}/${version}: ${text}`);
    },
    { timeoutMs: 60_000, intervalMs: 100 },
  );
}

/** `shardserve apply` on a free port; resolves when it listens. */
export async function startApply(
  place: ClusterPlace,
  ...more: readonly string[]
): Promise<{ readonly process: LaunchedProcess; readonly grpc: string }> {
  const child = start(place, "apply", ...common(place), "--listen=127.0.0.1:0", ...more);
  const [, grpc] = await started(child, child.waitForOutput(/^apply: gRPC on (\S+)/m, { timeoutMs: START_MS }));
  return { process: child, grpc: grpc! };
}
