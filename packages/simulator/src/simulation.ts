import {
  brokenHistory,
  type ClusterState,
  type ControllerSettings,
  controllerSettings,
  darkPartitions,
  imbalanceOf,
  moveCounts,
  readClusterState,
  type Step,
  unprovedReplicas,
  type VersionContents,
} from "@shardserve/controller";
import { type Random, seededRandom } from "@shardserve/core";
import { loadOf, type PartitionMap } from "@shardserve/placement";
import { mapRecord, shardWish, wishKey } from "@shardserve/registry";
import { SimExecutor } from "./sim-executor.js";
import { type DecisionCost, maxCost, NO_COST, SimLeader } from "./sim-leader.js";
import { type RegistryLoad, SimRegistry } from "./sim-registry.js";
import { SimShard } from "./sim-shard.js";
import { Timeline } from "./timeline.js";

/** Size of the simulated cluster and of its model, and the seed. */
export interface SimulationOptions {
  readonly seed: number;
  readonly shardCount: number;
  readonly executorCount: number;
  readonly zoneCount: number;
  readonly models: readonly {
    readonly name: string;
    readonly partitionCount: number;
    readonly partitionBytes: number;
  }[];
  readonly loadBytesPerSecond: number;
  readonly settings: Partial<ControllerSettings>;
  /** Processor time in milliseconds, only to report what decisions cost. */
  readonly realMs: () => number;
}

/** What one disturbance did until the cluster was at rest again. */
export interface Outcome {
  /** Simulated time from the disturbance to rest, in seconds. */
  readonly seconds: number;
  readonly movedReplicas: number;
  readonly movedBytes: number;
  readonly writes: Readonly<Record<string, number>>;
  readonly writeCount: number;
  readonly watchedBytes: number;
  readonly imbalance: number;
  readonly cost: DecisionCost;
}

const CHECK_EVERY_MS = 1_000;
/** A disturbance that is not over by then never will be. */
const REST_WITHIN_MS = 4 * 3_600_000;
const ELECTION_MS = 10_000;
/** Of one broken invariant, as many places are named. */
const BROKEN_NAMED = 3;

/** A whole cluster in one process on simulated time: the real placement, controller, registry store and map rules. */
export class Simulation {
  readonly options: SimulationOptions;
  readonly timeline = new Timeline();
  readonly random: Random;
  readonly registry: SimRegistry;
  readonly settings: ControllerSettings;
  readonly shards = new Map<string, SimShard>();
  readonly #repository = new Map<string, Map<number, VersionContents>>();
  readonly #executors: SimExecutor[] = [];
  #leader: SimLeader | undefined;
  /** Of leaders that are gone, since the disturbance. */
  #cost = NO_COST;
  #movedBytes = 0;
  #movedReplicas = 0;
  #mayGoDark = false;

  constructor(options: SimulationOptions) {
    this.options = options;
    this.random = seededRandom(options.seed);
    this.registry = new SimRegistry(this.timeline, this.random);
    this.settings = controllerSettings(options.settings);
    for (const { name } of options.models) this.publish(name, 1);
    for (let i = 0; i < options.executorCount; i++) {
      this.#executors.push(new SimExecutor(`executor-${i}`, this.registry, this.timeline));
    }
    this.elect();
    for (const executor of this.#executors) executor.start();
    for (let i = 0; i < options.shardCount; i++) this.addShard();
    this.timeline.after(CHECK_EVERY_MS, () => this.#checkRegularly());
  }

  publish(model: string, version: number): void {
    const { partitionCount, partitionBytes } = this.options.models.find(({ name }) => name === model) as {
      partitionCount: number;
      partitionBytes: number;
    };
    const contents: VersionContents = {
      manifestDigest: `manifest-${model}-${version}`,
      partitionCount,
      partitionBytes,
      digests: Array.from({ length: partitionCount }, (_, p) => `${model}-${version}-${p}`.padStart(32, "0")),
    };
    const versions = this.#repository.get(model) ?? new Map<number, VersionContents>();
    this.#repository.set(model, versions.set(version, contents));
  }

  /** @returns its id */
  addShard(weight = 1): string {
    const index = this.shards.size;
    const id = `shard-${String(index).padStart(4, "0")}`;
    const { zoneCount, loadBytesPerSecond } = this.options;
    const zone = zoneCount > 1 ? `zone-${index % zoneCount}` : "";
    const shard = new SimShard(
      { id, zone, weight, loadBytesPerSecond },
      this.registry,
      this.timeline,
      this.#repository,
    );
    this.shards.set(id, shard);
    shard.start();
    return id;
  }

  drain(ids: readonly string[]): void {
    for (const id of ids) {
      this.registry.txn("operator", [], [{ put: wishKey(id), value: shardWish.encode({ isDraining: true }) }]);
    }
  }

  /** A leader that remembers nothing takes over, after the lease of the one before. */
  elect(): void {
    const { registry, timeline, settings } = this;
    const { realMs } = this.options;
    const lead = () => {
      this.#leader = new SimLeader({
        registry,
        timeline,
        repository: this.#repository,
        settings,
        realMs,
        onStep: (step, before) => this.#onStep(step, before),
      });
    };
    if (!this.#leader) return lead();
    this.#cost = maxCost(this.#cost, this.#leader.cost);
    this.#leader.end();
    timeline.after(ELECTION_MS, lead);
  }

  /** Runs a disturbance and waits for rest. @throws Error at the first broken invariant, or when there is no rest */
  disturb(action: () => void, options: { readonly mayGoDark?: boolean } = {}): Outcome {
    const before = this.registry.load;
    const [movedBytes, movedReplicas] = [this.#movedBytes, this.#movedReplicas];
    const startMs = this.timeline.nowMs();
    this.#cost = NO_COST;
    if (this.#leader) this.#leader.cost = NO_COST;
    this.#mayGoDark = options.mayGoDark ?? false;
    action();
    const restedAtMs = this.#runToRest(startMs);
    this.#mayGoDark = false;
    return {
      seconds: Math.round((restedAtMs - startMs) / 100) / 10,
      movedReplicas: this.#movedReplicas - movedReplicas,
      movedBytes: this.#movedBytes - movedBytes,
      ...difference(before, this.registry.load),
      imbalance: this.imbalance(),
      cost: maxCost(this.#cost, this.#leader?.cost ?? NO_COST),
    };
  }

  state(): ClusterState {
    return readClusterState(this.registry.entries());
  }

  /** Enabled maps, as the registry has them. */
  enabledMaps(): PartitionMap[] {
    return [...this.state().models.values()].flatMap(({ versions }) =>
      [...versions.values()].flatMap(({ map }) => map?.value.enabled ?? []),
    );
  }

  /** The worst of all maps over the shards that they may use. */
  imbalance(): number {
    const { shards } = this.state();
    const weights = new Map(
      [...shards.values()].filter((shard) => !shard.isDraining).map(({ id, weight }) => [id, weight]),
    );
    return Math.max(0, ...this.enabledMaps().map((map) => imbalanceOf(map, weights)));
  }

  /** Replicas on some shards, over all enabled maps: what has to move when they go. */
  replicasOn(ids: readonly string[]): number {
    let count = 0;
    for (const map of this.enabledMaps()) {
      for (const [i, load] of loadOf(map).entries()) if (ids.includes(map.shards[i]!)) count += load;
    }
    return count;
  }

  #runToRest(startMs: number): number {
    let restingSinceMs = Number.NaN;
    // Longer than any timer that may still set something off: a lease that ends, a shard that is to be replaced.
    const quietMs = Math.max(this.settings.replaceAfterMs + 15_000, 45_000);
    for (;;) {
      const nowMs = this.timeline.nowMs();
      if (this.#isAtRest()) {
        if (Number.isNaN(restingSinceMs)) restingSinceMs = nowMs;
        if (nowMs - restingSinceMs >= quietMs) return restingSinceMs;
      } else restingSinceMs = Number.NaN;
      if (nowMs - startMs > REST_WITHIN_MS) throw new Error(`no rest within ${REST_WITHIN_MS / 1000} s`);
      this.timeline.runUntil(nowMs + 500);
    }
  }

  /** Every model is served by its highest version, fully replicated on living shards, and nothing moves. */
  #isAtRest(): boolean {
    const { models, shards } = this.state();
    return [...this.#repository].every(([model, contents]) => {
      const found = models.get(model);
      const highest = Math.max(...contents.keys());
      if (!found || found.versions.get(highest)?.record?.value.state !== "enabled") return false;
      return [...found.versions.values()].every(({ record, map }) => {
        if (record?.value.state !== "enabled" || !map?.value.enabled || map.value.staged) return false;
        const { inFlightCount, leftCount } = moveCounts(map.value);
        return (
          inFlightCount + leftCount === 0 &&
          map.value.enabled.shards.every((id) => shards.has(id) && !shards.get(id)?.isDraining)
        );
      });
    });
  }

  #onStep(step: Step, before: ClusterState): void {
    if (step.kind !== "flip" && step.kind !== "enable") return;
    const put = step.operations.find((operation) => "put" in operation && operation.put.startsWith("maps/"));
    if (!put || !("put" in put)) return;
    const now = mapRecord.decode(put.value, put.put).enabled as PartitionMap;
    const old = before.models.get(step.model)?.versions.get(step.version)?.map?.value.enabled;
    this.#demand(unprovedReplicas(old, now, this.#holds));
    if (step.movedBytes === undefined) return;
    this.#movedBytes += step.movedBytes;
    const partitionBytes = this.#repository.get(step.model)?.get(step.version)?.partitionBytes ?? 1;
    this.#movedReplicas += step.movedBytes / partitionBytes;
  }

  readonly #holds = (id: string, model: string, version: number, partition: number): boolean =>
    this.shards.get(id)?.holds(model, version, partition) ?? false;

  #last: ClusterState | undefined;

  /** Every second: nothing that executors route by is out of reach, and no generation goes back. */
  #checkRegularly(): void {
    const state = this.state();
    if (this.#last) this.#demand(brokenHistory(this.#last, state));
    this.#last = state;
    if (!this.#mayGoDark) {
      const checked = new Set<string>();
      for (const map of this.#executors.flatMap((executor) => executor.maps())) {
        const name = `${map.model} ${map.version} ${map.generation}`;
        if (checked.has(name)) continue;
        checked.add(name);
        this.#demand(darkPartitions(map, this.#holds));
      }
    }
    this.timeline.after(CHECK_EVERY_MS, () => this.#checkRegularly());
  }

  /** What follows a broken invariant says nothing: the first one ends the run. */
  #demand(broken: readonly string[]): void {
    if (broken.length === 0) return;
    const more = broken.length > BROKEN_NAMED ? `, and ${broken.length - BROKEN_NAMED} more` : "";
    const seconds = (this.timeline.nowMs() / 1000).toFixed(1);
    throw new Error(`broken at ${seconds} s: ${broken.slice(0, BROKEN_NAMED).join("; ")}${more}`);
  }

  /** The registry forgets everything; what was known of its history is no measure of the new one. */
  loseHistory(): void {
    this.#last = undefined;
    this.registry.loseHistory();
  }
}

function difference(
  before: RegistryLoad,
  after: RegistryLoad,
): { readonly writes: Record<string, number>; readonly writeCount: number; readonly watchedBytes: number } {
  const writes: Record<string, number> = {};
  let writeCount = 0;
  for (const [who, count] of Object.entries(after.writes)) {
    const more = count - (before.writes[who] ?? 0);
    if (more > 0) writes[who] = more;
    writeCount += more;
  }
  return { writes, writeCount, watchedBytes: after.watchedBytes - before.watchedBytes };
}
