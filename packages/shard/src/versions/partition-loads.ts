import { join } from "node:path";
import { BytePace, type Clock, type Logger, ServingError } from "@shardserve/core";
import { type PartitionMap, replicasOf } from "@shardserve/placement";
import { partitionDigestOf, partitionPath } from "@shardserve/rowstore";
import { isDamage } from "./held-epochs.js";
import { failedAgain, type HeldVersion } from "./held-version.js";
import type { ShardMetrics } from "../metrics.js";
import { PacedMoves } from "../files/paced-moves.js";
import type { ServedVersion } from "./served-version.js";

/** A long load proves what it has this often, so that a rollout's progress can be seen. */
const PROGRESS_MS = 1_000;

export interface PartitionLoadOptions {
  readonly shard: string;
  /** Bytes of partitions that may be mapped over all versions; Infinity = no limit. */
  readonly capacityBytes: number;
  /** Partition files verified at the same time. */
  readonly loadsMax: number;
  /** Bytes a second at which partitions that move here are read; Infinity = not limited. Restarts and rollouts are not slowed. */
  readonly moveBytesPerSecond: number;
  /** First pause after a failed load, doubled up to a minute, in milliseconds. */
  readonly retryMs: number;
  readonly metrics: ShardMetrics;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What the keeper does and knows. */
interface Surroundings {
  /** The map in force of a version. */
  readonly enabledOf: (held: HeldVersion) => PartitionMap | undefined;
  /** Over all versions. */
  readonly mappedBytes: () => number;
  /** Something to prove before the pass is over. */
  readonly onProgress: (held: HeldVersion) => void;
  readonly onLoaded: () => void;
  /** A move's file is here, or cannot be had: another pass has something to do. */
  readonly onFetched: () => void;
  readonly signal: AbortSignal;
}

/** Loads the partitions that a version lacks: fetched, verified, with the rows of its deltas, mapped. */
export class PartitionLoads {
  readonly #options: PartitionLoadOptions & Surroundings;
  /** Undefined = moves are not slowed, and loaded like everything else. */
  readonly #moves: PacedMoves | undefined;

  constructor(options: PartitionLoadOptions & Surroundings) {
    this.#options = options;
    const { moveBytesPerSecond, clock } = options;
    if (moveBytesPerSecond < Number.POSITIVE_INFINITY)
      this.#moves = new PacedMoves(new BytePace(moveBytesPerSecond, clock));
  }

  async close(): Promise<void> {
    await this.#moves?.close();
  }

  /** Loads what the version lacks, one pass; what fails is tried again in a later one. */
  async loadMissing(held: HeldVersion, served: ServedVersion): Promise<void> {
    const { clock, loadsMax } = this.#options;
    const nowMs = clock.nowMs();
    if (served.set.tables.length === 0) return; // such a version has no partition files
    const missing = [...held.wanted].filter(
      (partition) => !served.digests.has(partition) && (held.failures.get(partition)?.retryAtMs ?? 0) <= nowMs,
    );
    let provedAtMs = nowMs;
    const load = async () => {
      for (let partition = missing.shift(); partition !== undefined; partition = missing.shift()) {
        if (this.#options.signal.aborted || !held.wanted.has(partition)) continue;
        if (this.#moves && this.#isMove(held, partition) && !held.fetched.has(partition)) {
          this.#fetch(this.#moves, held, served, partition);
          continue;
        }
        await this.#load(held, served, partition);
        if (clock.nowMs() - provedAtMs < PROGRESS_MS) continue;
        provedAtMs = clock.nowMs();
        this.#options.onProgress(held);
      }
    };
    await Promise.all(Array.from({ length: loadsMax }, load));
  }

  async #load(held: HeldVersion, served: ServedVersion, partition: number): Promise<void> {
    const { metrics, signal } = this.#options;
    const { model, version } = held;
    let isProved = false;
    try {
      this.#checkCapacity(served);
      await served.files.provide(partitionPath(partition), signal);
      const path = join(served.files.directory, partitionPath(partition));
      const expectedDigest = partitionDigestOf(served.manifest, partition);
      const prepare = () => {
        isProved = true;
        return served.epochs.prepare(partition, signal);
      };
      const { digest } = await served.set.add(partition, path, { expectedDigest, signal, prepare });
      served.digests.set(partition, digest);
      held.failures.delete(partition);
      held.dropAtMs.delete(partition);
    } catch (error) {
      if (this.#options.signal.aborted) return;
      if (isDamage(error) && !isProved) await served.files.discard(partitionPath(partition));
      this.#partitionFailed(held, partition, error);
    }
    metrics.partitions.set({ model, version: String(version) }, served.digests.size);
    this.#options.onLoaded();
  }

  /** Begins to fetch a partition at the pace of moves; it is loaded when its file is here. */
  #fetch(moves: PacedMoves, held: HeldVersion, { files }: ServedVersion, partition: number): void {
    moves.fetch({
      files,
      path: partitionPath(partition),
      isWanted: () => held.wanted.has(partition) && held.served?.files === files,
      onFetched: () => {
        if (held.wanted.has(partition)) held.fetched.add(partition);
        else void files.forget(partitionPath(partition));
        this.#options.onFetched();
      },
      onFailed: (error) => {
        this.#partitionFailed(held, partition, error);
        this.#options.onFetched();
      },
    });
  }

  /** True when the partition comes from another shard: an enabled version has it elsewhere. */
  #isMove(held: HeldVersion, partition: number): boolean {
    const { shard, enabledOf } = this.#options;
    const enabled = enabledOf(held);
    return enabled !== undefined && !replicasOf(enabled, partition).includes(shard);
  }

  #partitionFailed(held: HeldVersion, partition: number, reason: unknown): void {
    held.fetched.delete(partition);
    held.failures.set(partition, failedAgain(held, held.failures.get(partition), reason, this.#options));
  }

  /** @throws ServingError RESOURCE_EXHAUSTED with the numbers */
  #checkCapacity(served: ServedVersion): void {
    const { capacityBytes, shard } = this.#options;
    const mappedBytes = this.#options.mappedBytes();
    const { dataBytes } = served.set.layout;
    if (mappedBytes + dataBytes <= capacityBytes) return;
    throw new ServingError(
      "RESOURCE_EXHAUSTED",
      `shard ${shard} holds ${mappedBytes} bytes; ${dataBytes} more exceed its capacity of ${capacityBytes}`,
    );
  }
}
