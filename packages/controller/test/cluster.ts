import { randomUUID } from "node:crypto";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { Registry as MetricsRegistry } from "prom-client";
import { Controller, type ControllerSettings } from "@shardserve/controller";
import { partitionsOf } from "@shardserve/placement";
import {
  holdingKey,
  holdingRecord,
  LeasedKeys,
  MAPS_PREFIX,
  mapRecord,
  mapsToHold,
  parseKey,
  type Registry,
  RegistryView,
  shardKey,
  shardRecord,
} from "@shardserve/registry";
import {
  partitionDigestOf,
  partitionLayout,
  partitionPath,
  readManifest,
  type TableInfo,
  writeManifest,
} from "@shardserve/rowstore";

export const PARTITION_COUNT = 13;

const TABLE: TableInfo = {
  name: "table",
  checkpointKey: "table",
  rows: 1000,
  rowShape: [16],
  dim: 16,
  dtype: "float32",
  rowDtype: "same",
  rowBytes: 64,
};

/** Publishes a version whose manifest names partition files; the files themselves are the participants' fiction. */
export async function publish(baseDir: string, model: string, version: number): Promise<void> {
  const { fileBytes } = partitionLayout([TABLE], PARTITION_COUNT);
  const digestOf = (partition: number) => (version * 1000 + partition).toString(16).padStart(32, "0");
  const files = Array.from({ length: PARTITION_COUNT }, (_, partition) => ({
    path: partitionPath(partition),
    bytes: fileBytes,
    digest: digestOf(partition),
  }));
  const temporary = join(baseDir, model, `.writing-${version}`);
  await mkdir(temporary, { recursive: true });
  await writeManifest(temporary, {
    writer: "test",
    sourceDigest: digestOf(999),
    partitionCount: PARTITION_COUNT,
    tables: [TABLE],
    lookups: [],
    files,
  });
  await rename(temporary, join(baseDir, model, String(version)));
}

export interface ParticipantOptions {
  readonly id: string;
  readonly registry: Registry;
  readonly baseDir: string;
  readonly settings: Partial<ControllerSettings>;
  /** What its controller does before each look at the repository. */
  readonly refresh?: () => Promise<void>;
  readonly ttlSeconds?: number;
}

/** A shard process without rows: registers, follows the maps, "loads" what they give it, campaigns. */
export class Participant {
  readonly id: string;
  readonly registry: Registry;
  readonly controller: Controller;
  readonly instance = randomUUID();
  readonly metrics = new MetricsRegistry();
  /** While true it registers but proves nothing. */
  isStuck = false;
  readonly #baseDir: string;
  readonly #keys: LeasedKeys;
  readonly #view: RegistryView;
  #held = new Set<string>();
  #working: Promise<void> = Promise.resolve();

  constructor(options: ParticipantOptions) {
    this.id = options.id;
    this.registry = options.registry;
    this.#baseDir = options.baseDir;
    this.#keys = new LeasedKeys(this.registry, { ttlSeconds: options.ttlSeconds ?? 2 });
    this.#view = new RegistryView(this.registry, MAPS_PREFIX);
    this.controller = new Controller({
      registry: this.registry,
      self: { id: this.id, instance: this.instance },
      repositoryDir: options.baseDir,
      metrics: this.metrics,
      ...(options.refresh && { refreshRepository: options.refresh }),
      settings: { leaderTtlSeconds: 2, ...options.settings },
    });
  }

  async start(): Promise<void> {
    const record = shardRecord.encode({
      id: this.id,
      instance: this.instance,
      machine: "test",
      addresses: { tcp: "127.0.0.1:1" },
      zone: "",
      weight: 1,
      isDraining: false,
    });
    this.#view.subscribe(() => this.load());
    this.#view.start();
    await this.#keys.set(shardKey(this.id), record);
    await this.controller.start();
  }

  /** Proves what the maps give it now. */
  load(): void {
    this.#working = this.#working.then(() => this.#load()).catch(() => undefined); // the next map tries again
  }

  /** As kill -9: nothing is revoked, nothing resigned. */
  async die(): Promise<void> {
    await this.registry.close();
    await this.#view.close();
  }

  async stop(): Promise<void> {
    await this.controller.close();
    await this.#view.close();
    await this.#working;
    await this.#keys.close();
    await this.registry.close();
  }

  async #load(): Promise<void> {
    if (this.isStuck) return;
    const seen = new Set<string>();
    for (const entry of this.#view.entries.values()) {
      const key = parseKey(entry.key);
      if (key?.kind !== "map") continue;
      const wanted = new Set(
        mapsToHold(mapRecord.decode(entry.value, entry.key)).flatMap((map) => partitionsOf(map, this.id)),
      );
      const stored = await readManifest(join(this.#baseDir, key.model, String(key.version)));
      if (!stored || wanted.size === 0) continue;
      const partitions = [...wanted].sort((a, b) => a - b);
      const name = holdingKey(this.id, key.model, key.version);
      seen.add(name);
      await this.#keys.set(
        name,
        holdingRecord.encode({
          instance: this.instance,
          manifestDigest: stored.digest,
          epoch: 0,
          partitions,
          digests: partitions.map((partition) => partitionDigestOf(stored.manifest, partition)),
        }),
      );
    }
    for (const name of this.#held) if (!seen.has(name)) await this.#keys.delete(name);
    this.#held = seen;
  }
}
