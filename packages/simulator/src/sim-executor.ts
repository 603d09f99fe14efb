import type { PartitionMap } from "@shardserve/placement";
import {
  executorKey,
  executorRecord,
  KnownMaps,
  MAPS_PREFIX,
  type ServedVersion,
  SHARDS_PREFIX,
} from "@shardserve/registry";
import type { SimRegistry } from "./sim-registry.js";
import type { Timeline } from "./timeline.js";

const LEASE_SECONDS = 10;
const KEEP_ALIVE_MS = 3_333;
/** From an enabled map to answers: the dense graph is loaded. */
const LOAD_MS = 5_000;

/** An executor as the control plane sees it: it follows enabled maps by the real KnownMaps and reports what it serves. */
export class SimExecutor {
  readonly id: string;
  readonly #registry: SimRegistry;
  readonly #timeline: Timeline;
  readonly #known = new KnownMaps();
  readonly #serving = new Map<string, ServedVersion>();
  #lease = "";
  #reported = "";

  constructor(id: string, registry: SimRegistry, timeline: Timeline) {
    this.id = id;
    this.#registry = registry;
    this.#timeline = timeline;
  }

  start(): void {
    this.#lease = this.#registry.grantLease(LEASE_SECONDS);
    const { view } = this.#registry.watch(MAPS_PREFIX, () => this.#follow(view));
    this.#registry.watch(SHARDS_PREFIX, () => undefined); // addresses: their bytes count
    this.#follow(view);
    this.#keepAlive();
  }

  /** The maps that it routes by. */
  maps(): PartitionMap[] {
    return [...this.#known.all.values()].flatMap(({ record }) => record.enabled ?? []);
  }

  #follow(view: Parameters<KnownMaps["update"]>[0]): void {
    this.#known.update(view);
    const enabled = new Set(this.maps().map(({ model, version }) => `${model}/${version}`));
    for (const { model, version } of this.maps()) {
      const name = `${model}/${version}`;
      if (this.#serving.has(name)) continue;
      this.#serving.set(name, { model, version, state: "loading" });
      this.#timeline.after(LOAD_MS, () => {
        if (!this.#serving.has(name)) return;
        this.#serving.set(name, { model, version, state: "available" });
        this.#report();
      });
    }
    for (const name of this.#serving.keys()) if (!enabled.has(name)) this.#serving.delete(name);
    this.#report();
  }

  #report(): void {
    const serving = [...this.#serving.values()];
    const text = JSON.stringify(serving);
    if (text === this.#reported) return;
    this.#reported = text;
    const record = { id: this.id, instance: this.id, addresses: {}, zone: "", serving };
    const operation = { put: executorKey(this.id), value: executorRecord.encode(record), leaseId: this.#lease };
    this.#registry.txn("executors", [], [operation]);
  }

  #keepAlive(): void {
    this.#timeline.after(KEEP_ALIVE_MS, () => {
      if (!this.#registry.keepAlive(this.#lease)) {
        this.#lease = this.#registry.grantLease(LEASE_SECONDS);
        this.#reported = "";
        this.#report();
      }
      this.#keepAlive();
    });
  }
}
