import assert from "node:assert/strict";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ClusterStatus, VersionStatus } from "@shardserve/controller";
import { partitionPath } from "@shardserve/rowstore";
import {
  eventually,
  freePort,
  type LaunchedProcess,
  type NetworkHost,
  ProcessClock,
  TcpProxy,
  type TestNetwork,
} from "@shardserve/testkit";
import { cli, cliJson, startCli } from "./cli.js";
import { type ClusterPlace, type Front, startExecutor, startShard } from "./roles.js";
import { DRIFTING, writeDrifting } from "./drifting-model.js";
import { STAMPED, writeStamped } from "./stamped-model.js";

/** Executors reach shards at this address of the loopback network, where a proxy stands before each of them. */
const PROXIED_HOST = "127.0.0.2";

/** The first 4096 bytes of a partition file are its header; rows follow. */
export const FIRST_ROW_BYTE = 4096;

/** Quick, unless a test says otherwise. */
const SHARD_FLAGS = ["--settle-seconds=0.3", "--repository-poll-seconds=0.3", "--retire-after-seconds=1"];

const nameOf = (flag: string) => flag.slice(0, flag.indexOf("="));

export interface LiveClusterOptions {
  /** Folder for the repository, state and sources. */
  readonly dir: string;
  /** host:port of etcd's members. */
  readonly etcd: readonly string[];
  readonly cluster: string;
  readonly replication: number;
  readonly minShards: number;
  /** Further flags of every shard. */
  readonly shardFlags?: readonly string[];
  /** Further flags of every executor. */
  readonly executorFlags?: readonly string[];
  /** Every process gets a wall clock of its own, where libfaketime is installed. */
  readonly hasClocks?: boolean;
  /** Every process gets a host of its own in it, named after itself, and no proxies; default the loopback network with proxies. */
  readonly network?: TestNetwork;
}

/** A process with its own links: what it hears of etcd, and (shards) what others hear of it, go through proxies. */
interface Member {
  process: LaunchedProcess;
  readonly toEtcd: readonly TcpProxy[];
  readonly inbound: TcpProxy | undefined;
  readonly port: number;
  readonly clock: ProcessClock | undefined;
  readonly host: NetworkHost | undefined;
}

/**
 * A cluster of real processes with a proxy on every link (or each on a host of its own in a test network), a folder for each process's state, and fixed ports, so that
 * every process can be stopped, frozen, cut off and started again under its name.
 */
export class LiveCluster {
  readonly repository: string;
  readonly #options: LiveClusterOptions;
  readonly #shards = new Map<string, Member>();
  readonly #executors = new Map<string, Member & { front: Front }>();

  constructor(options: LiveClusterOptions) {
    this.#options = options;
    this.repository = join(options.dir, "repository");
  }

  get shardIds(): string[] {
    return [...this.#shards.keys()].sort();
  }

  get executorIds(): string[] {
    return [...this.#executors.keys()].sort();
  }

  /** The running (or last) process of a shard or executor. */
  process(id: string): LaunchedProcess {
    return this.#member(id).process;
  }

  front(id: string): Front {
    return this.#executors.get(id)!.front;
  }

  /** The link from a process to etcd; one for each of its members. */
  etcdLinks(id: string): readonly TcpProxy[] {
    return this.#member(id).toEtcd;
  }

  /** The link that executors reach a shard by. */
  shardLink(id: string): TcpProxy {
    return this.#shards.get(id)!.inbound!;
  }

  /** The wall clock of a process; undefined where clocks cannot be faked. */
  clock(id: string): ProcessClock | undefined {
    return this.#member(id).clock;
  }

  stateDir(id: string): string {
    return join(this.#options.dir, "state", id);
  }

  /**
   * Starts a shard, or starts it again after it ended.
   *
   * @param repository  where it reads versions; default the one of all
   */
  async startShard(id: string, repository = this.repository): Promise<void> {
    const known = this.#shards.get(id);
    const port = known?.port ?? (await freePort());
    const toEtcd = known?.toEtcd ?? (await this.#etcdProxies());
    const host = known?.host ?? this.#options.network?.join(id);
    const inbound =
      known?.inbound ??
      (host ? undefined : await TcpProxy.start({ host: "127.0.0.1", port }, { host: PROXIED_HOST, port }));
    const clock = known?.clock ?? (await this.#createClock(id));
    const process = await startShard(
      { ...this.#place(toEtcd, clock, host), repository },
      id,
      `--listen=${host?.address ?? "127.0.0.1"}:${port}`,
      `--advertised-host=${host?.address ?? PROXIED_HOST}`,
      `--state-dir=${this.stateDir(id)}`,
      "--metrics-port=0",
      `--replication=${this.#options.replication}`,
      `--min-shards=${this.#options.minShards}`,
      ...SHARD_FLAGS.filter((flag) => !this.#options.shardFlags?.some((own) => nameOf(own) === nameOf(flag))),
      ...(this.#options.shardFlags ?? []),
    );
    this.#shards.set(id, { process, toEtcd, inbound, port, clock, host });
  }

  /** Starts an executor, or starts it again (on other ports) after it ended. */
  async startExecutor(id: string): Promise<Front> {
    const known = this.#executors.get(id);
    const toEtcd = known?.toEtcd ?? (await this.#etcdProxies());
    const host = known?.host ?? this.#options.network?.join(id);
    const clock = known?.clock ?? (await this.#createClock(id));
    const front = await startExecutor(
      this.#place(toEtcd, clock, host),
      id,
      "--cache-bytes=64KiB",
      `--state-dir=${this.stateDir(id)}`,
      ...(this.#options.executorFlags ?? []),
    );
    this.#executors.set(id, { process: front.process, front, toEtcd, inbound: undefined, port: 0, clock, host });
    return front;
  }

  /** Forgets a shard that ended for good. */
  async forgetShard(id: string): Promise<void> {
    const member = this.#shards.get(id)!;
    this.#shards.delete(id);
    await Promise.all([...member.toEtcd, ...(member.inbound ? [member.inbound] : [])].map((proxy) => proxy.stop()));
  }

  async stop(): Promise<void> {
    const members = [...this.#shards.values(), ...this.#executors.values()];
    for (const { process } of members) process.signal("SIGCONT"); // a frozen one cannot end
    await Promise.all(members.map(({ process }) => process.stop("SIGTERM", 3_000)));
    await Promise.all(
      members.flatMap(({ toEtcd, inbound }) => [...toEtcd, ...(inbound ? [inbound] : [])].map((proxy) => proxy.stop())),
    );
  }

  /** Exports a version of the stamped model outside the repository and moves it in, as a publisher would. */
  async publish(version: number, change?: (out: string) => Promise<void>, rowCount?: number): Promise<void> {
    await this.writeSource(version, rowCount);
    await this.exportSource(version, change);
  }

  /** The first half of {@link publish}: the SavedModel. */
  writeSource(version: number, rowCount?: number): Promise<void> {
    return writeStamped(join(this.#options.dir, "source", String(version)), version, rowCount);
  }

  /** Its second half. @throws AssertionError with what shard-export said when it failed */
  async exportSource(version: number, change?: (out: string) => Promise<void>): Promise<void> {
    const source = join(this.#options.dir, "source", String(version));
    const out = join(this.#options.dir, "outgoing", String(version));
    const { code, stderr } = await cli("shard-export", source, `--out=${out}`, "--min-table-bytes=0");
    assert.equal(code, 0, stderr);
    await change?.(out);
    await mkdir(join(this.repository, STAMPED), { recursive: true });
    await rename(out, join(this.repository, STAMPED, String(version)));
  }

  /** A version whose file no shard can prove. */
  publishDamaged(version: number): Promise<void> {
    return this.publish(version, async (out) => {
      const file = await open(join(out, partitionPath(11)), "r+");
      try {
        await file.write(Buffer.of(0x5a, 0xa5), 0, 2, FIRST_ROW_BYTE + 5);
      } finally {
        await file.close();
      }
    });
  }

  /** Lets the same version number be published again. */
  async forgetExport(version: number): Promise<void> {
    await rm(join(this.#options.dir, "source", String(version)), { recursive: true, force: true });
    await rm(join(this.#options.dir, "outgoing", String(version)), { recursive: true, force: true });
  }

  /** Puts an epoch of the drifting model into the repository: its only version as epoch 0, any other as a delta. */
  async publishDrifting(epoch: number): Promise<void> {
    const source = join(this.#options.dir, "drifting", String(epoch));
    const version = join(this.repository, DRIFTING, "1");
    await writeDrifting(source, epoch);
    const into = epoch === 0 ? [`--out=${version}`, "--min-table-bytes=0"] : [`--base=${version}`];
    const { code, stderr } = await cli("shard-export", source, ...into);
    assert.equal(code, 0, stderr);
  }

  /** Runs a command against the cluster, past the proxies. */
  command(name: string, ...args: readonly string[]) {
    return cli(name, ...args, ...this.#registryFlags());
  }

  /** The same, without waiting for its end. */
  start(name: string, ...args: readonly string[]): LaunchedProcess {
    return startCli(name, ...args, ...this.#registryFlags());
  }

  #registryFlags(): string[] {
    return [`--etcd=${this.#options.etcd.join(",")}`, `--cluster=${this.#options.cluster}`];
  }

  status(): Promise<ClusterStatus> {
    const { etcd, cluster } = this.#options;
    return cliJson<ClusterStatus>("status", `--etcd=${etcd.join(",")}`, `--cluster=${cluster}`);
  }

  /** Sum of a metric over the shards that live, by the lines that begin with `name`. */
  async shardMetric(name: string): Promise<number> {
    const values = await Promise.all(
      [...this.#shards.values()].map(async ({ process }) => {
        const port = /metrics on port (\d+)/.exec(process.output)?.[1];
        const reply = await fetch(`http://127.0.0.1:${port}/metrics`).catch(() => undefined); // it is stopped
        const lines = (await reply?.text())?.split("\n").filter((line) => line.startsWith(`${name} `)) ?? [];
        return lines.reduce((sum, line) => sum + Number(line.slice(name.length)), 0);
      }),
    );
    return values.reduce((sum, value) => sum + value, 0);
  }

  /** Waits until the status is as wanted. @throws Error with the last status when it does not come to that */
  until(isSo: (found: ClusterStatus) => boolean, timeoutMs = 40_000): Promise<ClusterStatus> {
    return eventually(
      async () => {
        const found = await this.status();
        if (!isSo(found)) throw new Error(JSON.stringify(found));
        return found;
      },
      { timeoutMs, intervalMs: 250 },
    );
  }

  /** Waits until a leader leads, every process is registered and every replica is held. */
  untilWhole(timeoutMs = 90_000): Promise<ClusterStatus> {
    return this.until(
      (found) =>
        isWhole(found) &&
        found.leader !== undefined &&
        found.shards.length === this.#shards.size &&
        found.executors.length === this.#executors.size &&
        found.models.some(({ versions }) => versions.some(({ state }) => state === "enabled")),
      timeoutMs,
    );
  }

  #member(id: string): Member {
    const member = this.#shards.get(id) ?? this.#executors.get(id);
    assert.ok(member, `no process ${id}`);
    return member;
  }

  async #createClock(id: string): Promise<ProcessClock | undefined> {
    if (this.#options.hasClocks !== true) return undefined;
    const folder = join(this.#options.dir, "clocks");
    await mkdir(folder, { recursive: true });
    return ProcessClock.create(join(folder, id));
  }

  #place(toEtcd: readonly TcpProxy[], clock: ProcessClock | undefined, host: NetworkHost | undefined): ClusterPlace {
    const { cluster, etcd } = this.#options;
    const proxied = toEtcd.map((proxy) => `127.0.0.1:${proxy.port}`);
    return {
      etcd: (host ? etcd : proxied).join(","),
      cluster,
      repository: this.repository,
      ...(clock && { env: clock.env }),
      ...(host && { host }),
    };
  }

  #etcdProxies(): Promise<TcpProxy[]> {
    if (this.#options.network) return Promise.resolve([]);
    return Promise.all(
      this.#options.etcd.map((address) => {
        const [host, port] = address.split(":");
        return TcpProxy.start({ host: host!, port: Number(port) });
      }),
    );
  }
}

export function versionOf(found: ClusterStatus, version: number, model = STAMPED): VersionStatus | undefined {
  return found.models.find((item) => item.model === model)?.versions.find((item) => item.version === version);
}

/** True when every executor answers for the drifting model at the epoch, and no other is on its way. */
export function isAtEpoch(found: ClusterStatus, epoch: number): boolean {
  const version = found.models.find(({ model }) => model === DRIFTING)?.versions[0];
  return (
    version?.epoch === epoch &&
    version.stagedEpoch === undefined &&
    found.executors.every(({ serving }) => serving.find(({ model }) => model === DRIFTING)?.epoch === epoch)
  );
}

/** Retired and forgotten by the leader; shards may hold its partitions for a while. */
export function isGone(found: ClusterStatus, version: number): boolean {
  return (versionOf(found, version)?.state ?? "dropping") === "dropping";
}

/** Every replica of every version is held by a living shard, nothing moves and nobody is missing. */
export function isWhole(found: ClusterStatus): boolean {
  return (
    found.missingShards.length === 0 &&
    found.models.every(({ versions }) =>
      versions.every(
        ({ heldCount, neededCount, degradedCount, isMoving }) =>
          heldCount === neededCount && degradedCount === 0 && !isMoving,
      ),
    )
  );
}
