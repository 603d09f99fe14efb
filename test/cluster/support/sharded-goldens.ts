import assert from "node:assert/strict";
import { join } from "node:path";
import { EtcdServer, type LaunchedProcess, type TempDir, tempDir } from "@shardserve/testkit";
import { cli } from "./cli.js";
import type { GoldenModel } from "./golden-models.js";
import { GrpcClient } from "./grpc.js";
import { type ClusterPlace, type Front, startExecutor, startShard, whenAvailable } from "./roles.js";

export const SHARDS = 3;
export const REPLICATION = 2;

/** Models with golden outputs, exported with every looked-up table sharded and served by a real cluster. */
export class ShardedGoldens {
  static async start(cluster: string, models: readonly GoldenModel[]): Promise<ShardedGoldens> {
    const [etcd, dir] = await Promise.all([EtcdServer.start(), tempDir(`shardserve-${cluster}-`)]);
    const place = { etcd: etcd.host, cluster, repository: join(dir.path, "repository") };
    const processes: LaunchedProcess[] = [];
    try {
      for (const { name, dir: source } of models) {
        const out = join(place.repository, name, "1");
        const { code, stderr } = await cli("shard-export", source, `--out=${out}`, "--min-table-bytes=0");
        assert.equal(code, 0, stderr);
      }
      const flags = [
        `--replication=${REPLICATION}`,
        `--min-shards=${SHARDS}`,
        "--settle-seconds=0.2",
        "--repository-poll-seconds=1",
      ];
      const starting = Array.from({ length: SHARDS }, (_, i) => startShard(place, `shard-${i}`, ...flags));
      processes.push(...(await Promise.all(starting)));
      const executor = await startExecutor(place, "executor-0");
      processes.push(executor.process);
      for (const { name } of models) await whenAvailable(executor, name);
      return new ShardedGoldens(dir, place, etcd, processes, executor);
    } catch (error) {
      await Promise.all(processes.map((child) => child.stop()));
      await etcd.stop();
      await dir.remove();
      throw error;
    }
  }

  readonly dir: TempDir;
  readonly place: ClusterPlace;
  readonly executor: Front;
  readonly client: GrpcClient;
  readonly #etcd: EtcdServer;
  readonly #processes: readonly LaunchedProcess[];

  private constructor(
    dir: TempDir,
    place: ClusterPlace,
    etcd: EtcdServer,
    processes: readonly LaunchedProcess[],
    executor: Front,
  ) {
    this.dir = dir;
    this.place = place;
    this.executor = executor;
    this.client = new GrpcClient(executor.grpc);
    this.#etcd = etcd;
    this.#processes = processes;
  }

  /** Rows of a model that came from shards so far, as the executor's metrics tell. */
  async rowsFromShards(model: string): Promise<number> {
    const metrics = await (await fetch(`http://${this.executor.rest}/monitoring/prometheus/metrics`)).text();
    const series = `shardserve_lookup_rows_total{model="${model}",source="shard"} `;
    const line = metrics.split("\n").find((text) => text.startsWith(series));
    assert.ok(line, `no ${series}`);
    return Number(line.slice(series.length));
  }

  async stop(): Promise<void> {
    this.client[Symbol.dispose]();
    await Promise.all(this.#processes.map((child) => child.stop()));
    await this.#etcd.stop();
    await this.dir.remove();
  }
}
