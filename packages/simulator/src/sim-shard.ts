import { partitionsOf } from "@shardserve/placement";
import {
  holdingKey,
  holdingRecord,
  KnownMaps,
  MAPS_PREFIX,
  type ShardRecord,
  shardKey,
  shardRecord,
} from "@shardserve/registry";
import type { RepositoryContents } from "@shardserve/controller";
import type { SimRegistry } from "./sim-registry.js";
import type { Timeline } from "./timeline.js";

const LEASE_SECONDS = 10;
const KEEP_ALIVE_MS = 3_333;
/** As the shard's Keeper: proofs of a long load, and the grace of what no map gives us any more. */
const PROGRESS_MS = 1_000;
const DROP_AFTER_MS = 30_000;

export interface SimShardOptions {
  readonly id: string;
  readonly zone: string;
  readonly weight: number;
  /** Bytes a second at which partitions are read and verified. */
  readonly loadBytesPerSecond: number;
}

interface Held {
  readonly model: string;
  readonly version: number;
  wanted: ReadonlySet<number>;
  readonly partitions: Set<number>;
  readonly dropAtMs: Map<number, number>;
  heldGeneration: number | undefined;
  published: string;
}

/** A shard process as the control plane sees it: it follows the maps by the real KnownMaps, takes time to load, and proves. */
export class SimShard {
  readonly id: string;
  readonly zone: string;
  readonly #options: SimShardOptions;
  readonly #registry: SimRegistry;
  readonly #timeline: Timeline;
  readonly #repository: RepositoryContents;
  readonly #held = new Map<string, Held>();
  #known = new KnownMaps();
  #lease = "";
  #instances = 0;
  #isAlive = false;
  #isLoading = false;
  #publishedAtMs = 0;
  #end: () => void = () => undefined;
  /** Callbacks of an earlier life change nothing. */
  #life = 0;

  constructor(options: SimShardOptions, registry: SimRegistry, timeline: Timeline, repository: RepositoryContents) {
    this.id = options.id;
    this.zone = options.zone;
    this.#options = options;
    this.#registry = registry;
    this.#timeline = timeline;
    this.#repository = repository;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  holds(model: string, version: number, partition: number): boolean {
    return this.#isAlive && (this.#held.get(`${model}/${version}`)?.partitions.has(partition) ?? false);
  }

  start(): void {
    const life = ++this.#life;
    this.#isAlive = true;
    this.#instances++;
    this.#known = new KnownMaps();
    const { view, end } = this.#registry.watch(MAPS_PREFIX, () => this.#isNow(life) && this.#follow(view));
    this.#end = end;
    this.#register();
    this.#follow(view);
    this.#keepAlive(life);
  }

  /** As kill -9: what it held is gone from memory, its lease runs out by itself. */
  kill(): void {
    this.#life++;
    this.#isAlive = false;
    this.#isLoading = false;
    this.#end();
    this.#held.clear();
  }

  /** The lease is lost and taken again, as by a pause of the process. */
  loseLease(): void {
    this.#registry.revokeLease(this.#lease);
  }

  #isNow(life: number): boolean {
    return life === this.#life;
  }

  #register(): void {
    const { id, zone, weight } = this.#options;
    this.#lease = this.#registry.grantLease(LEASE_SECONDS);
    const record: ShardRecord = {
      id,
      instance: `${id}-${this.#instances}`,
      machine: id,
      addresses: { tcp: `${id}:8600` },
      zone,
      weight,
      isDraining: false,
    };
    const operations = [{ put: shardKey(id), value: shardRecord.encode(record), leaseId: this.#lease }];
    this.#registry.txn("registration", [], operations);
    for (const held of this.#held.values()) held.published = "";
    this.#publish();
  }

  #keepAlive(life: number): void {
    this.#timeline.after(KEEP_ALIVE_MS, () => {
      if (!this.#isNow(life)) return;
      if (!this.#registry.keepAlive(this.#lease)) this.#register();
      this.#keepAlive(life);
    });
  }

  #follow(view: Parameters<KnownMaps["update"]>[0]): void {
    this.#known.update(view);
    const mapped = new Set<string>();
    for (const { model, version, record, held: heldMap } of this.#known.all.values()) {
      const name = `${model}/${version}`;
      const maps = [record.staged, record.enabled].filter((map) => map !== undefined);
      const wanted = new Set(maps.flatMap((map) => partitionsOf(map, this.id)));
      const known = this.#held.get(name);
      if (!known && wanted.size === 0) continue;
      mapped.add(name);
      const held = known ?? newHeld(model, version);
      held.wanted = wanted;
      held.heldGeneration = heldMap?.generation;
      this.#held.set(name, held);
    }
    for (const [name, held] of this.#held) if (!mapped.has(name)) held.wanted = new Set();
    this.#drop();
    this.#load();
    this.#publish();
  }

  #load(): void {
    if (this.#isLoading) return;
    const next = this.#missing();
    if (!next) return;
    const life = this.#life;
    this.#isLoading = true;
    const bytes = this.#repository.get(next.held.model)?.get(next.held.version)?.partitionBytes ?? 0;
    this.#timeline.after((bytes / this.#options.loadBytesPerSecond) * 1000, () => {
      if (!this.#isNow(life)) return;
      this.#isLoading = false;
      if (next.held.wanted.has(next.partition)) next.held.partitions.add(next.partition);
      const isDue = this.#timeline.nowMs() - this.#publishedAtMs >= PROGRESS_MS;
      if (isDue || !this.#missing()) this.#publish();
      this.#load();
    });
  }

  #missing(): { readonly held: Held; readonly partition: number } | undefined {
    for (const held of this.#held.values()) {
      for (const partition of held.wanted) if (!held.partitions.has(partition)) return { held, partition };
    }
    return undefined;
  }

  #drop(): void {
    const nowMs = this.#timeline.nowMs();
    for (const [name, held] of this.#held) {
      for (const partition of held.partitions) {
        if (held.wanted.has(partition)) held.dropAtMs.delete(partition);
        else if (!held.dropAtMs.has(partition)) {
          held.dropAtMs.set(partition, nowMs + DROP_AFTER_MS);
          const life = this.#life;
          this.#timeline.after(DROP_AFTER_MS, () => this.#isNow(life) && this.#dropDue());
        }
      }
      if (held.wanted.size === 0 && held.partitions.size === 0) this.#forget(name, held);
    }
  }

  #dropDue(): void {
    const nowMs = this.#timeline.nowMs();
    let dropped = 0;
    for (const [name, held] of this.#held) {
      for (const [partition, dropAtMs] of held.dropAtMs) {
        if (dropAtMs > nowMs || held.wanted.has(partition)) continue;
        held.dropAtMs.delete(partition);
        held.partitions.delete(partition);
        dropped++;
      }
      if (held.wanted.size === 0 && held.partitions.size === 0) this.#forget(name, held);
    }
    if (dropped > 0) this.#publish();
  }

  #forget(name: string, { model, version }: Held): void {
    this.#held.delete(name);
    this.#registry.txn("holdings", [], [{ delete: holdingKey(this.id, model, version) }]);
  }

  /** Writes the holdings that changed, each a key of its own. */
  #publish(): void {
    this.#publishedAtMs = this.#timeline.nowMs();
    for (const held of this.#held.values()) {
      const { model, version, heldGeneration } = held;
      const contents = this.#repository.get(model)?.get(version);
      if (!contents) continue;
      const partitions = [...held.partitions].sort((a, b) => a - b);
      const text = `${heldGeneration} ${partitions.join()}`;
      if (text === held.published) continue;
      held.published = text;
      const value = holdingRecord.encode({
        instance: `${this.id}-${this.#instances}`,
        manifestDigest: contents.manifestDigest,
        epoch: 0,
        partitions,
        digests: partitions.map((partition) => contents.digests[partition]!),
        ...(heldGeneration !== undefined && { heldGeneration }),
      });
      try {
        this.#registry.txn("holdings", [], [{ put: holdingKey(this.id, model, version), value, leaseId: this.#lease }]);
      } catch {
        held.published = ""; // the lease is lost: the next keepalive registers anew and writes everything again
      }
    }
  }
}

function newHeld(model: string, version: number): Held {
  return {
    model,
    version,
    wanted: new Set(),
    partitions: new Set(),
    dropAtMs: new Map(),
    heldGeneration: undefined,
    published: "",
  };
}
