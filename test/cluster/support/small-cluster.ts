import { join } from "node:path";
import { type ClusterStatus, clusterStatus } from "@shardserve/controller";
import { silentLogger } from "@shardserve/core";
import { EtcdRegistry } from "@shardserve/registry";
import { EtcdServer, eventually, type LaunchedProcess, type TempDir, tempDir } from "@shardserve/testkit";
import { type ClusterPlace, startShard } from "./roles.js";

export interface SmallClusterOptions {
  /** Flags of the shard `id`, besides those that every process of a cluster has. */
  readonly shardFlags: (id: string) => readonly string[];
  /** BASE of BASE/NAME/VERSION; default a folder of its own. */
  readonly repository?: string;
  /** Added to the environment of its processes. */
  readonly env?: Readonly<Record<string, string>>;
  /** What it may take until the status is as a test waits for. */
  readonly timeoutMs?: number;
}

/** An etcd of one member, shards that a test kills and starts again, and what the cluster says of itself. */
export class SmallCluster {
  readonly etcd: EtcdServer;
  /** For what the test writes, and the repository. */
  readonly dir: TempDir;
  readonly place: ClusterPlace;
  /** Reads what the processes registered. */
  readonly observer: EtcdRegistry;
  readonly shards = new Map<string, LaunchedProcess>();
  readonly #options: SmallClusterOptions;

  /** @param name  of the cluster, and of its temporary folder */
  static async start(name: string, options: SmallClusterOptions): Promise<SmallCluster> {
    const [etcd, dir] = await Promise.all([EtcdServer.start(), tempDir(`shardserve-${name}-`)]);
    return new SmallCluster(name, etcd, dir, options);
  }

  private constructor(cluster: string, etcd: EtcdServer, dir: TempDir, options: SmallClusterOptions) {
    const { repository = join(dir.path, "repository"), env = {} } = options;
    this.dir = dir;
    this.place = { etcd: etcd.host, cluster, repository, env };
    this.observer = new EtcdRegistry({ hosts: [etcd.host], cluster, logger: silentLogger });
    this.etcd = etcd;
    this.#options = options;
  }

  /** Flags with which a command reaches the cluster. */
  get registryFlags(): string[] {
    return [`--etcd=${this.place.etcd}`, `--cluster=${this.place.cluster}`];
  }

  /** Starts shards, or starts them again after they ended. */
  async startShards(...ids: readonly string[]): Promise<void> {
    await Promise.all(ids.map((id) => this.startShard(id)));
  }

  /** @param repository  where it reads versions, instead of where the others do */
  async startShard(id: string, repository = this.place.repository): Promise<void> {
    const place = { ...this.place, repository };
    this.shards.set(id, await startShard(place, id, ...this.#options.shardFlags(id)));
  }

  /** Starts a shard that was killed and waits until it is registered anew: what its predecessor registered may still stand. */
  async restartShard(id: string, isBack: (found: ClusterStatus) => boolean, repository?: string): Promise<void> {
    const instanceOf = ({ shards }: ClusterStatus) => shards.find((shard) => shard.id === id)?.instance;
    const before = instanceOf(await this.status());
    await this.startShard(id, repository);
    await this.until((found) => instanceOf(found) !== before && isBack(found));
  }

  kill(id: string): Promise<unknown> {
    return this.shards.get(id)!.stop("SIGKILL");
  }

  status(): Promise<ClusterStatus> {
    return clusterStatus(this.observer);
  }

  /** Waits until the status is as wanted. @throws Error with the last status when it does not come to that */
  until(isSo: (found: ClusterStatus) => boolean): Promise<ClusterStatus> {
    return eventually(
      async () => {
        const found = await this.status();
        if (!isSo(found)) throw new Error(JSON.stringify(found));
        return found;
      },
      { timeoutMs: this.#options.timeoutMs ?? 60_000, intervalMs: 100 },
    );
  }

  /** @param others  processes that the test started in it */
  async stop(...others: readonly (LaunchedProcess | undefined)[]): Promise<void> {
    await Promise.all([...this.shards.values(), ...others].map(async (child) => child?.stop()));
    await this.observer.close();
    await this.etcd.stop();
    await this.dir.remove();
  }
}
