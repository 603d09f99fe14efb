import {
  type Clock,
  isServingError,
  type Logger,
  OutageLog,
  type Random,
  Service,
  ServingError,
  silentLogger,
  sleep,
  systemClock,
  systemRandom,
} from "@shardserve/core";
import {
  campaign,
  LEADER_KEY,
  NEWS_KEY,
  type LeaderRecord,
  type Leadership,
  leaderRecord,
  type Registry,
  RegistryView,
} from "@shardserve/registry";
import { Backoff } from "@shardserve/transport";
import type { Registry as MetricsRegistry } from "prom-client";
import { type ClusterState, readClusterState } from "./observe/cluster-state.js";
import { ControllerMetrics } from "./metrics.js";
import { LeaderRounds } from "./leader-rounds.js";
import { Repository } from "./observe/repository.js";
import { type ControllerSettings, controllerSettings } from "./settings.js";
import type { Decision, Step } from "./decide/step.js";

/** What a leader works with, and the limits of what it does at once; defaults stand with each. */
export interface ControllerOptions {
  readonly registry: Registry;
  /** Who campaigns: the shard's id and its instance. */
  readonly self: LeaderRecord;
  /** BASE of `BASE/NAME/VERSION`; every shard must see the same. */
  readonly repositoryDir: string;
  /** Brings that folder up to date before each look, where it mirrors a repository elsewhere; a look fails when this does. */
  readonly refreshRepository?: (signal: AbortSignal) => Promise<void>;
  readonly settings?: Partial<ControllerSettings>;
  readonly metrics?: MetricsRegistry;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

/** Steps in one round before the loop looks at the clock and the repository again. */
const STEPS_PER_ROUND_MAX = 64;
/** Longest pause between two rounds: timers (settling, replacing, retiring) are seen this late at most, in milliseconds. */
const ROUND_MAX_MS = 500;
/** Shortest pause: a thousand shards that prove a version write more often than decisions are worth, in milliseconds. */
const ROUND_MIN_MS = 50;

/**
 * The control plane, run in every shard process: all campaign, one leads. The leader watches the cluster and the model
 * repository and takes one step after another ({@link decide}), each guarded by the revision of its own office, so that a leader
 * that was deposed without knowing changes nothing. It keeps nothing but timers: the next leader goes on from the registry.
 */
export class Controller extends Service {
  readonly settings: ControllerSettings;
  readonly #registry: Registry;
  readonly #self: LeaderRecord;
  readonly #repository: Repository;
  readonly #metrics: ControllerMetrics | undefined;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #leadership: Leadership | undefined;

  constructor(options: ControllerOptions) {
    super();
    this.settings = controllerSettings(options.settings);
    this.#registry = options.registry;
    this.#self = options.self;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom();
    this.#logger = (options.logger ?? silentLogger).child({ part: "controller" });
    const refresh = options.refreshRepository;
    this.#repository = new Repository(options.repositoryDir, { logger: this.#logger, ...(refresh && { refresh }) });
    this.#metrics = options.metrics && new ControllerMetrics(options.metrics);
  }

  get isLeader(): boolean {
    return this.#leadership !== undefined && !this.#leadership.lost.aborted;
  }

  /** Campaigns in the background: a registry that is away is no reason not to serve. */
  protected onStart(): Promise<void> {
    this.#running = this.#run();
    return Promise.resolve();
  }

  protected onDrain(): Promise<void> {
    return Promise.resolve();
  }

  /** Resigns, so that another leads at once. */
  protected async onClose(): Promise<void> {
    this.#stop.abort(new ServingError("DRAINING", "the controller is closing"));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const backoff = new Backoff({ firstMs: 200, maxMs: 5_000 }, this.#random);
    while (!signal.aborted) {
      try {
        const leadership = await campaign(this.#registry, LEADER_KEY, leaderRecord.encode(this.#self), {
          ttlSeconds: this.settings.leaderTtlSeconds,
          signal,
          clock: this.#clock,
          random: this.#random,
          logger: this.#logger,
        });
        this.#leadership = leadership;
        this.#metrics?.leads(true);
        this.#logger.info({ id: this.#self.id }, "leads the cluster");
        backoff.reset();
        await this.#lead(leadership, AbortSignal.any([signal, leadership.lost]));
        this.#logger.info({ id: this.#self.id }, "no longer leads");
      } catch (error) {
        if (!signal.aborted) this.#logger.error({ error: ServingError.from(error).message }, "campaign failed");
      }
      await this.#leave();
      await sleep(this.#clock, backoff.nextMs(), signal).catch(() => undefined); // closed meanwhile
    }
  }

  async #leave(): Promise<void> {
    const leadership = this.#leadership;
    this.#leadership = undefined;
    this.#metrics?.leads(false);
    await leadership?.resign().catch((error: unknown) => {
      this.#logger.debug({ error: ServingError.from(error).message }, "the office was not given back; it expires");
    });
  }

  async #lead(leadership: Leadership, signal: AbortSignal): Promise<void> {
    const view = new RegistryView(this.#registry, "", { logger: this.#logger });
    const rounds = new LeaderRounds(this.#clock, this.settings, () => this.#metrics?.failure());
    const backoff = new Backoff({ firstMs: 100, maxMs: 3_000 }, this.#random);
    const outage = new OutageLog(
      this.#logger,
      this.#clock,
      "a round of the controller failed; it is tried again",
      "rounds go on",
    );
    view.start();
    try {
      while (!signal.aborted) {
        try {
          await view.reach(1, { signal });
          await rounds.scan(this.#repository, view.entries.get(NEWS_KEY)?.modRevision, signal);
          await this.#round(leadership, view, rounds, signal);
          backoff.reset();
          outage.works();
          await this.#pause(view, Math.min(ROUND_MAX_MS, this.settings.pollMs), signal);
        } catch (error) {
          if (signal.aborted) return;
          this.#metrics?.failure();
          outage.failed(ServingError.from(error));
          await sleep(this.#clock, backoff.nextMs(), signal).catch(() => undefined); // ended meanwhile
        }
      }
    } finally {
      await view.close();
    }
  }

  /** Takes steps until none is left; what they change is in the view before the next is decided. */
  async #round(leadership: Leadership, view: RegistryView, rounds: LeaderRounds, signal: AbortSignal): Promise<void> {
    for (let steps = 0; steps < STEPS_PER_ROUND_MAX; steps++) {
      const state = readClusterState(view.entries.values());
      const decision = await rounds.decide(state, signal);
      this.#metrics?.observed(state, decision, rounds.unsteadyCount);
      this.#report(rounds, decision, state);
      if (!decision.step) return;
      const revision = await this.#take(decision.step, leadership, signal);
      if (revision === undefined) return; // the view is behind: its next event starts the next round
      await view.reach(revision, { signal });
    }
  }

  /** @returns the revision of the step's write, or undefined when the registry changed since it was read */
  async #take(step: Step, leadership: Leadership, signal: AbortSignal): Promise<number | undefined> {
    const { kind, model, version, why } = step;
    try {
      const revision = await this.#registry.txn([...step.compares, leadership.guard], step.operations, { signal });
      this.#metrics?.stepTaken(step);
      this.#logger.info({ kind, model, version, why }, "step taken");
      return revision;
    } catch (error) {
      if (!isServingError(error, "REGISTRY_CONFLICT")) throw error;
      this.#metrics?.conflict();
      this.#logger.debug({ kind, model, version, error: error.message }, "step refused");
      return undefined;
    }
  }

  /** Logs what waits, once for each change of reason. */
  #report(rounds: LeaderRounds, { waiting }: Decision, { unreadable }: ClusterState): void {
    for (const { model, version, why } of rounds.news(waiting)) {
      this.#logger.info({ model, version, why }, "waits");
    }
    const broken = rounds.scanError === undefined ? unreadable : [...unreadable, rounds.scanError];
    for (const text of rounds.newlyBroken(broken)) {
      this.#logger.error({ error: text }, "something that the controller needs cannot be read");
    }
  }

  /** Until something changed in the registry, at most `maxMs`. */
  async #pause(view: RegistryView, maxMs: number, signal: AbortSignal): Promise<void> {
    const { revision } = view;
    await sleep(this.#clock, Math.min(ROUND_MIN_MS, maxMs), signal);
    if (view.revision !== revision) return;
    const over = new AbortController(); // AbortSignal.any would leave one signal more on `signal` each round
    const wake = () => over.abort();
    const unsubscribe = view.subscribe(wake);
    signal.addEventListener("abort", wake, { once: true });
    if (signal.aborted) wake();
    await sleep(this.#clock, maxMs, over.signal).catch(() => undefined); // woken
    unsubscribe();
    signal.removeEventListener("abort", wake);
  }
}
