import {
  type CancelSignal,
  Changes,
  type Clock,
  type Logger,
  type Random,
  Service,
  ServingError,
  silentLogger,
  systemClock,
  systemRandom,
} from "@shardserve/core";
import { whenAvailable } from "./availability.js";
import type { LoadedVersion, ServableHandle } from "./handle.js";
import { Harness } from "./harness.js";
import type { Loader } from "./loader.js";
import type { ManagerOptions } from "./manager-options.js";
import { MemoryBudget, type MemoryPlan, type MemoryState } from "./memory-plan.js";
import { NameChanges } from "./name-changes.js";
import { type AspiredVersionPolicy, availabilityPreserving } from "./policy.js";
import { ProbationJudge } from "./probation-judge.js";
import { keptVersion } from "./probation-watch.js";
import { Routing } from "./routing.js";
import { type AspiredSet, isSameSet, type ServableId } from "./servable-id.js";
import type { ServableRequest } from "./serving-map.js";
import type { VersionStatus } from "./status.js";
import type { TrafficPolicy } from "./traffic.js";
import { VersionTable } from "./version-table.js";

/** Versions that leave in one step: each takes a moment, and a configuration may drop thousands of models. */
const UNLOADS_PER_STEP = 32;
/** How long close waits for handles whose requests were already aborted. */
const CLOSE_GRACE_MS = 5000;
/** Least pause before a version is loaded again that failed on an outage, also where loads are tried again at once. */
const OUTAGE_PAUSE_MS_MIN = 1000;
const NO_SIGNATURES: ReadonlyMap<string, string> = new Map();

/**
 * Keeps the loaded versions equal to the aspired ones, and hands out handles on them.
 *
 * `setAspired` states the full set wanted for a name; the policy then picks one transition at a time. Loading happens
 * off the request path: requests read an immutable {@link ServingMap} that is swapped in whole.
 */
export class Manager extends Service {
  readonly #loader: Loader;
  readonly #policy: AspiredVersionPolicy;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #options: Required<
    Pick<ManagerOptions, "loadRetriesMax" | "loadRetryIntervalMs" | "loadsMax" | "stepByHand">
  > &
    Pick<ManagerOptions, "fingerprint">;
  readonly #budget: MemoryBudget | undefined;
  readonly #planMemory: ((id: ServableId, path: string) => Promise<MemoryPlan>) | undefined;
  readonly #versions = new VersionTable();
  readonly #changes = new Changes();
  /** Who waits for names. */
  readonly #nameChanges = new NameChanges();
  readonly #routing = new Routing();
  readonly #judge: ProbationJudge;
  /** Names that changed since the last step: one change among thousands of models looks at one. */
  readonly #changedNames = new Set<string>();
  /** Names with a version to load, in line for a load to end. */
  readonly #waitingNames = new Set<string>();
  #isStepQueued = false;

  constructor(options: ManagerOptions) {
    super();
    this.#loader = options.loader;
    this.#policy = options.policy ?? availabilityPreserving;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom();
    this.#logger = options.logger ?? silentLogger;
    const { memory } = options;
    this.#budget = memory && new MemoryBudget(memory.limitBytes, () => this.#retryShortOfMemory());
    this.#planMemory = memory?.plan;
    this.#options = {
      loadRetriesMax: options.loadRetriesMax ?? 5,
      loadRetryIntervalMs: options.loadRetryIntervalMs ?? 60_000,
      loadsMax: options.loadsMax ?? 2,
      stepByHand: options.stepByHand ?? false,
      ...(options.fingerprint && { fingerprint: options.fingerprint }),
    };
    const { probation, onRollback } = options;
    this.#judge = new ProbationJudge({
      ...(probation && { probation }),
      ...(onRollback && { onRollback }),
      clock: this.#clock,
      logger: this.#logger,
      condemn: (candidate, verdict) => this.#unload([candidate], verdict),
      ...(!this.#options.stepByHand && { again: () => this.state === "ready" && this.step() }),
    });
  }

  /** The full set of versions wanted for `name` from now on; a version left out is unloaded, an empty set unloads all. */
  setAspired(name: string, versions: AspiredSet): void {
    if (this.state === "draining" || this.state === "closed") return;
    const before = this.#versions.aspired.get(name);
    this.#versions.aspired.set(name, versions);
    for (const harness of this.#versions.harnesses.get(name)?.values() ?? []) void this.#retryIfMended(harness);
    // Sources say the same again with each look. That nothing is wanted is news to who waits for a model.
    if (versions.length === 0 || !before || !isSameSet(before, versions)) this.#changed(name);
  }

  /**
   * Pins the version that a request asks for. The caller releases the handle on every path.
   *
   * @throws ServingError NOT_FOUND, INVALID_ARGUMENT (unknown label), DRAINING
   */
  handle(request: ServableRequest): ServableHandle {
    this.assertReady();
    return this.#routing.find(request, () => this.#random.next()).pin();
  }

  /**
   * Replaces the traffic policies of all models. A share of a version that is not available goes to the others; where
   * none of a split is available, the highest version that is takes the requests.
   */
  replaceTraffic(policies: ReadonlyMap<string, TrafficPolicy>): void {
    this.#routing.replaceTraffic(policies);
  }

  /** What was said of each model's traffic last. */
  get traffic(): ReadonlyMap<string, TrafficPolicy> {
    return this.#routing.traffic;
  }

  /** What was said of one model's traffic last. */
  trafficOf(name: string): TrafficPolicy | undefined {
    return this.#routing.traffic.get(name);
  }

  /**
   * Replaces the labels of one model. A label that stays on its version is never refused.
   *
   * @param isUnavailableAllowed  lets a label that is new name a version that is not ready
   * @throws ServingError FAILED_PRECONDITION when a version is not available; nothing is changed then
   */
  setLabels(name: string, labels: ReadonlyMap<string, number>, isUnavailableAllowed = false): void {
    this.#routing.setLabels(name, labels, isUnavailableAllowed);
  }

  /**
   * Replaces the labels of all models, under the same rules; a model left out has none any more.
   *
   * @throws ServingError FAILED_PRECONDITION when a version is not available; nothing is changed then
   */
  replaceLabels(labels: ReadonlyMap<string, ReadonlyMap<string, number>>, isUnavailableAllowed = false): void {
    this.#routing.replaceLabels(labels, isUnavailableAllowed);
  }

  /** Versions of a model with what became of them, highest first; undefined for a name never heard of. */
  statuses(name: string): readonly VersionStatus[] | undefined {
    return this.#versions.statuses(name);
  }

  /** Signatures of a version that is served which every request for is refused, and why. */
  brokenSignatures(name: string, version: number): ReadonlyMap<string, string> {
    return this.#versions.harnesses.get(name)?.get(version)?.ready?.model.broken ?? NO_SIGNATURES;
  }

  /** Whether `name` was ever aspired. */
  isKnown(name: string): boolean {
    return this.#versions.isKnown(name);
  }

  /** Names of all models that were ever aspired. */
  names(): readonly string[] {
    return this.#versions.names();
  }

  /** Calls back after every change of any version's state; returns the unsubscriber. */
  onChange(listener: () => void): () => void {
    return this.#changes.subscribe(listener);
  }

  /**
   * Resolves once every name has an available version. Waits for a name of which nothing is aspired yet; one that failed
   * on an outage while it waited is settled, also while the same versions are tried again.
   *
   * @param options.noun  what the error calls them, default "servable"
   * @throws ServingError LOAD_FAILED when a name's aspired versions all ended without one; the signal's reason
   */
  whenAvailable(
    names: readonly string[],
    options: { readonly signal?: CancelSignal; readonly noun?: string } = {},
  ): Promise<void> {
    return whenAvailable(this.#versions, this.#nameChanges, names, options);
  }

  /**
   * Resolves once each of these versions was available, failed, or not wanted; one that is tried again later is not waited for again.
   *
   * @throws the signal's reason
   */
  async whenSettled(
    name: string,
    versions: readonly number[],
    options: { readonly signal?: CancelSignal } = {},
  ): Promise<void> {
    const isPending = (version: number) =>
      this.#versions.aspired.get(name)?.some((entry) => entry.version === version) &&
      !this.#routing.isReady(name, version) &&
      !this.#versions.hasFailed(name, version);
    const whenSettled = (version: number) =>
      this.#nameChanges.whenAll([name], () => !isPending(version), options.signal);
    await Promise.all(versions.map(whenSettled));
  }

  /** Whether some version of `name` can be served now. */
  isAvailable(name: string): boolean {
    return this.#versions.isAvailable(name);
  }

  /** What the loaded versions and those that load hold by their plans; undefined where none are made. */
  get memory(): MemoryState | undefined {
    return this.#budget?.state;
  }

  /** Takes what can be done now: at most one transition per model. Called by itself unless `stepByHand`. */
  step(): void {
    this.#step([...this.#versions.aspired.keys(), ...this.#versions.harnesses.keys()]);
  }

  #step(changed: Iterable<string>): void {
    const names = new Set(changed);
    this.#changedNames.clear();
    for (const name of names) this.#judge.judge(this.#harnessesOf(name));
    for (const name of names) {
      const aspired = this.#versions.aspired.get(name);
      if (aspired) this.#reconcile(name, aspired);
      this.#waitingNames.delete(name); // asked again below
    }
    const leaving: Harness[] = [];
    let loads = this.#options.loadsMax - this.#versions.loadingCount;
    for (const name of [...this.#waitingNames, ...names]) {
      if (loads <= 0 && !names.has(name)) continue;
      this.#waitingNames.delete(name);
      if (this.#stepModel(name, loads > 0, leaving)) loads--;
    }
    if (leaving.length > 0) this.#unload(leaving);
  }

  protected override async onStart(): Promise<void> {
    this.#changed();
  }

  /** Leaves the serving map at once; versions are released as their last handles are. */
  protected override async onDrain(drainMs: number): Promise<void> {
    this.#judge.close();
    this.#versions.aspired.clear();
    for (const harness of this.#versions.all()) {
      harness.isAspired = false;
      if (harness.state === "loading") harness.cancelLoad();
    }
    this.#unload(this.#versions.all().filter(({ state }) => state === "ready"));
    await this.#untilIdle(drainMs);
  }

  protected override async onClose(): Promise<void> {
    await this.#untilIdle(CLOSE_GRACE_MS);
    const held = this.#versions.all().filter(isBusy);
    // A run may still read the memory: leaving it to the process's end is safe, freeing it is not.
    if (held.length > 0) this.#logger.error({ versions: held.map((harness) => harness.id) }, "handles outlive close");
  }

  async #untilIdle(limitMs: number): Promise<void> {
    const limit = new AbortController();
    const cancel = this.#clock.after(limitMs, () => limit.abort(new Error("limit")));
    while (!limit.signal.aborted && this.#versions.all().some(isBusy)) {
      await this.#changes.next(limit.signal).catch(() => undefined); // the limit ends the wait, nothing else
    }
    cancel();
  }

  #harnessesOf(name: string): Map<number, Harness> {
    const known = this.#versions.harnesses.get(name);
    if (known) return known;
    const harnesses = new Map<number, Harness>();
    this.#versions.harnesses.set(name, harnesses);
    return harnesses;
  }

  #reconcile(name: string, aspired: AspiredSet): void {
    const harnesses = this.#harnessesOf(name);
    const wanted = new Map(aspired.map((entry) => [entry.version, entry.path]));
    const kept = keptVersion(aspired, harnesses, this.#judge.watched(harnesses));
    if (kept) wanted.set(kept.id.version, kept.path);
    for (const harness of harnesses.values()) {
      harness.isAspired = wanted.has(harness.id.version) && !harness.isLeaving;
      if (!harness.isAspired && harness.state === "loading") harness.cancelLoad();
      if (!harness.isAspired && harness.state === "new") {
        harness.discard();
        this.#changed(name); // it ends without a load whose end would say so
      }
      if (!harness.isAspired && (harness.state === "disabled" || harness.state === "error"))
        this.#versions.forget(harness);
    }
    for (const [version, path] of wanted) {
      // A version that is aspired again while it leaves waits until it has left.
      if (!harnesses.has(version)) harnesses.set(version, this.#newHarness(name, version, path));
    }
  }

  async #retryIfMended(harness: Harness): Promise<void> {
    if (harness.state !== "error" || !this.#options.fingerprint || !(await harness.hasNewFiles())) return;
    this.#retry(harness, "its files changed");
  }

  /** A failed version is forgotten, so that the next step loads it as a new one. */
  #retry(harness: Harness, why: string): void {
    const { name, version } = harness.id;
    if (this.state !== "ready" || this.#versions.harnesses.get(name)?.get(version) !== harness) return; // gone meanwhile
    this.#logger.info({ model: name, version }, `a failed version is loaded again: ${why}`);
    this.#versions.forget(harness);
    this.#changed(name);
  }

  /** Memory became free: versions that lacked it are forgotten, so that the next step loads them as new ones. */
  #retryShortOfMemory(): void {
    for (const harness of this.#versions.all()) {
      if (harness.state === "error" && harness.isShortOfMemory) this.#versions.forget(harness);
    }
    this.#changed();
  }

  #newHarness(name: string, version: number, path: string): Harness {
    return new Harness({ name, version }, path, {
      ...this.#options,
      loader: this.#loader,
      budget: this.#budget,
      planMemory: this.#planMemory,
      clock: this.#clock,
      logger: this.#logger,
      onChange: (harness) => this.#onHarness(harness),
    });
  }

  #onHarness(harness: Harness): void {
    if (harness.state === "ready") {
      if (this.state !== "ready") return this.#unload([harness]);
      this.#serveReady();
      harness.publishAvailable();
      this.#logger.info({ model: harness.id.name, version: harness.id.version }, "version is available");
    }
    if (harness.state === "disabled") this.#versions.forget(harness);
    if (harness.hasMetOutage) {
      const pauseMs = Math.max(OUTAGE_PAUSE_MS_MIN, this.#options.loadRetryIntervalMs);
      this.#clock.after(pauseMs, () => this.#retry(harness, "what it failed on may be over"));
    }
    this.#changed(harness.id.name);
  }

  /** @returns whether it began to load a version */
  #stepModel(name: string, mayLoad: boolean, leaving: Harness[]): boolean {
    const harnesses = this.#harnessesOf(name);
    const action = this.#policy(
      [...harnesses.values()].map(({ id, state, isAspired }) => ({ version: id.version, state, isAspired })),
    );
    if (!action) return false;
    const harness = harnesses.get(action.version)!;
    if (action.action === "unload") {
      if (leaving.length < UNLOADS_PER_STEP) leaving.push(harness);
      else this.#changed(name); // with the next step
      return false;
    }
    if (!mayLoad) {
      this.#waitingNames.add(name);
      return false;
    }
    this.#versions.ended.forget(name, action.version);
    void harness.load(); // never rejects; its end comes back through #onHarness
    this.#changed(name);
    return true;
  }

  #unload(harnesses: readonly Harness[], verdict?: ServingError): void {
    for (const harness of harnesses) harness.publishUnloading();
    this.#serveReady(new Set(harnesses.map(({ ready }) => ready)));
    for (const harness of harnesses) {
      harness.unload(verdict);
      this.#changed(harness.id.name);
    }
  }

  #serveReady(leaving: ReadonlySet<LoadedVersion | null> = new Set()): void {
    const ready = this.#versions
      .all()
      .map((harness) => harness.ready)
      .filter((loaded): loaded is LoadedVersion => loaded !== null && !leaving.has(loaded));
    this.#routing.serve(ready);
  }

  /** @param name  what changed; absent = any model may have */
  #changed(name?: string): void {
    this.#changes.notify();
    this.#nameChanges.notify(name);
    const changed = name === undefined ? this.#versions.aspired.keys() : [name];
    for (const each of changed) this.#changedNames.add(each);
    if (this.#options.stepByHand || this.#isStepQueued) return;
    if (this.state !== "ready" && this.state !== "starting") return;
    this.#isStepQueued = true;
    setImmediate(() => {
      this.#isStepQueued = false;
      if (this.state === "ready") this.#step([...this.#changedNames]);
    });
  }
}

function isBusy(harness: Harness): boolean {
  return harness.state === "quiescing" || harness.state === "unloading" || harness.state === "loading";
}
