import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { ServingError } from "@shardserve/core";
import { MemoryRegistry, RegistryServer } from "@shardserve/registry";
import { MANIFEST_FILE } from "@shardserve/rowstore";
import { parseAddress } from "@shardserve/transport";
import { defineCommand } from "../command.js";
import { type FlagValues, flag, flagName, refusePositionals } from "../flags.js";
import { LocalCluster, whenServing } from "../roles/process/local-cluster.js";
import { runUntilStopped } from "../roles/serving/model-front.js";
import { openRegistry, REGISTRY_FLAGS, registryArguments } from "../roles/flags/registry-flags.js";
import type { StoredRepository } from "../roles/versions/stored-repository.js";
import { SERVING_FLAGS } from "../roles/flags/serving-flags.js";
import { type ModelRepository, openRepository, REPOSITORY_FLAGS } from "../roles/flags/repository-flags.js";

/** Ports of executor i are this far from those of executor 0. */
const PORT_STEP = 10;
/** Between two looks at a repository in an object store: somebody who tries things out waits for them. */
const STORE_POLL_SECONDS = 10;
/** How long the shards must be the same before anything is placed: they start together, and all are waited for. */
const SETTLE_SECONDS = 0.5;

const FLAGS = {
  ...REPOSITORY_FLAGS,
  dataDir: flag.text(
    "folder for copies of what each process reads of a repository in s3:// or gs://; default one that is removed at the end",
    "DIR",
    "",
  ),
  shards: flag.int("shard processes", 1, 256, 3),
  replication: flag.int("replicas of every partition", 1, 16, 2),
  executors: flag.int(`executor processes; number i listens ${PORT_STEP} * i ports higher`, 1, 64, 1),
  cacheBytes: flag.bytes("memory for cached rows, per executor and version", 256 * 2 ** 20),
  readyTimeoutSeconds: flag.int("how long the cluster may take to serve", 1, 86_400, 120),
  ...REGISTRY_FLAGS,
  ...SERVING_FLAGS,
};

type UpFlags = Readonly<FlagValues<typeof FLAGS>>;

export const up = defineCommand({
  name: "up",
  summary: "Runs a whole cluster on this machine: shards and executors as processes, with etcd or without",
  usage: "--model_repository=BASE [--shards=3 --replication=2 --executors=1] [--etcd=HOSTS]",
  examples: [
    "shardserve up --model_repository=repository --shards=3 --replication=2 --executors=1 --port=8500 --rest_api_port=8501",
    "shardserve up --model_repository=repository --etcd=localhost:2379 --cluster=try",
    "shardserve up --model_repository=s3://bucket/repository --data-dir=/var/lib/shardserve",
  ],
  flags: FLAGS,
  async run(positionals, flags, terminal) {
    refusePositionals("up", positionals);
    const { logger, signal } = terminal;
    if (flags.replication > flags.shards)
      throw new ServingError(
        "CONFIG_INVALID",
        `up: ${flags.replication} replicas need as many shards, not ${flags.shards}`,
      );
    const repository = openRepository({ ...flags, dataDir: flags.dataDir || tmpdir() }, terminal);
    const models = await shardedModels(repository, signal);
    const runDir = await mkdtemp(join(tmpdir(), "shardserve-up-"));
    const dataDir = flags.dataDir === "" ? runDir : resolve(flags.dataDir);
    const isEmbedded = flags.etcd.length === 0 && flags.registrySocket === "";
    const socket = join(runDir, "registry.sock");
    const server = isEmbedded ? new RegistryServer({ listen: [parseAddress(`unix:${socket}`)], logger }) : undefined;
    await server?.start();
    const registry = server
      ? new MemoryRegistry({ store: server.store, logger })
      : openRegistry(flags, "up", terminal.environment, logger);
    const common = commonArguments(isEmbedded ? { ...flags, registrySocket: socket } : flags, repository, dataDir);
    const ended = new AbortController(); // heard until the cluster serves
    const cluster = new LocalCluster({
      shards: members("shard", flags.shards, (id) => [...common(id), ...shardArguments(flags, id, repository, runDir)]),
      executors: members("executor", flags.executors, (id, i) => [...common(id), ...executorArguments(flags, i)]),
      onLine: (_id, line) => terminal.print(line),
      onEnd: (id) =>
        ended.abort(new ServingError("UNAVAILABLE", `${id} ended before the cluster served: its last words are above`)),
      drainMs: flags.drainSeconds * 1000,
      logger,
    });
    try {
      await cluster.start({ signal });
      const executors = memberIds("executor", flags.executors);
      await whenServing(registry, executors, models, {
        timeoutMs: flags.readyTimeoutSeconds * 1000,
        signal: AbortSignal.any([signal, ended.signal]),
      });
      const pids = memberIds("shard", flags.shards).map((id) => cluster.pid(id));
      terminal.print(
        `ready: ${models.join(", ")} on ${flags.shards} shards with ${flags.replication} replicas (pid ${pids.join(", ")})`,
      );
      await runUntilStopped(cluster, terminal, flags.drainSeconds * 1000);
    } finally {
      await cluster.close();
      await registry.close();
      await server?.close();
      await rm(runDir, { recursive: true, force: true });
    }
  },
});

/** @throws ServingError NOT_FOUND when the repository holds no sharded version */
async function shardedModels({ base, stored }: ModelRepository, signal: AbortSignal): Promise<string[]> {
  const models = stored ? await modelsStored(stored, signal) : await modelsIn(base);
  if (models.length > 0) return models;
  throw new ServingError(
    "NOT_FOUND",
    `${base} holds no NAME/VERSION/${MANIFEST_FILE}; write one with shard-export, or use \`shardserve serve\``,
  );
}

async function modelsStored(stored: StoredRepository, signal: AbortSignal): Promise<string[]> {
  try {
    return await stored.models(signal);
  } finally {
    await stored.close();
  }
}

async function modelsIn(repository: string): Promise<string[]> {
  const paths = await readdir(repository, { recursive: true }).catch((cause: unknown) => {
    throw new ServingError(
      "NOT_FOUND",
      `--model_repository ${repository} cannot be listed: ${(cause as Error).message}`,
      { cause },
    );
  });
  const models = new Set(
    paths.flatMap((path) => {
      const [name, version, file, ...rest] = path.split("/");
      return file === MANIFEST_FILE && rest.length === 0 && /^\d+$/.test(version!) ? [name!] : [];
    }),
  );
  return [...models].sort();
}

/** "shard-0", "shard-1", ... */
function memberIds(role: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${role}-${i}`);
}

/** The arguments of each member of a role, by id. */
function members(
  role: string,
  count: number,
  args: (id: string, i: number) => readonly string[],
): ReadonlyMap<string, readonly string[]> {
  return new Map(memberIds(role, count).map((id, i) => [id, args(id, i)]));
}

/** What every member is told: who it is, its cluster and where the models are. */
function commonArguments(flags: UpFlags, { base, stored }: ModelRepository, dataDir: string) {
  return (id: string): readonly string[] => [
    ...registryArguments(flags),
    `--id=${id}`,
    `--model-repository=${base}`,
    `--download-bytes-per-second=${flags.downloadBytesPerSecond}`,
    ...(stored ? [`--data-dir=${join(dataDir, id)}`] : []),
  ];
}

function shardArguments(flags: UpFlags, id: string, { stored }: ModelRepository, runDir: string): readonly string[] {
  return [
    ...(stored ? [`--object-store-poll-seconds=${STORE_POLL_SECONDS}`] : []),
    "--listen=127.0.0.1:0",
    `--unix-socket=${join(runDir, `${id}.sock`)}`,
    `--replication=${flags.replication}`,
    `--min-shards=${flags.shards}`,
    `--otlp-endpoint=${flags.otlpEndpoint}`,
    `--settle-seconds=${SETTLE_SECONDS}`,
  ];
}

function executorArguments(flags: UpFlags, i: number): readonly string[] {
  return [`--cache-bytes=${flags.cacheBytes}`, ...servingArguments(flags, i)];
}

/** The serving flags for executor `i`. */
function servingArguments(flags: UpFlags, i: number): string[] {
  const shifted = (port: number) => (port > 0 ? port + PORT_STEP * i : port);
  return Object.keys(SERVING_FLAGS).map((key) => {
    const value = flags[key as keyof typeof SERVING_FLAGS];
    if (key === "port" || key === "restApiPort") return `--${flagName(key)}=${shifted(value as number)}`;
    if (key === "grpcSocketPath" && value !== "" && i > 0) return `--${flagName(key)}=${String(value)}.${i}`;
    return `--${flagName(key)}=${String(value)}`;
  });
}
