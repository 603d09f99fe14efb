import {
  type ClusterState,
  type ControllerSettings,
  nextStep,
  readClusterState,
  type RepositoryContents,
  RetireWatch,
  ShardWatch,
  type Step,
} from "@shardserve/controller";
import type { SimRegistry, SimView } from "./sim-registry.js";
import type { Timeline } from "./timeline.js";

/** As the Controller's. */
const STEPS_PER_ROUND_MAX = 64;
const ROUND_MAX_MS = 500;
const ROUND_MIN_MS = 50;

export interface SimLeaderOptions {
  readonly registry: SimRegistry;
  readonly timeline: Timeline;
  readonly repository: RepositoryContents;
  readonly settings: ControllerSettings;
  /** Real time, to see what a decision costs; it decides nothing. */
  readonly realMs: () => number;
  /** Called with every step that was taken, and the state that it was decided from. */
  readonly onStep: (step: Step, before: ClusterState) => void;
}

/** The leader's loop over the real nextStep, with the views of a process behind a network. */
export class SimLeader {
  readonly #options: SimLeaderOptions;
  readonly #watched: { readonly view: SimView; readonly end: () => void };
  readonly #shards: ShardWatch;
  readonly #retiring = new RetireWatch();
  #isEnded = false;
  #isAwake = false;
  #cancelPause: () => void = () => undefined;
  /** Longest time that one decision took, in real milliseconds. */
  decisionMsMax = 0;

  constructor(options: SimLeaderOptions) {
    this.#options = options;
    this.#shards = new ShardWatch(options.timeline.nowMs());
    this.#watched = options.registry.watch("", () => this.#wake(ROUND_MIN_MS));
    this.#wake(0);
  }

  /** The process is gone; another one must be elected. */
  end(): void {
    this.#isEnded = true;
    this.#watched.end();
  }

  #wake(delayMs: number): void {
    if (this.#isAwake || this.#isEnded) return;
    this.#isAwake = true;
    this.#cancelPause();
    this.#options.timeline.after(delayMs, () => {
      this.#isAwake = false;
      if (this.#isEnded) return;
      this.#round();
      this.#cancelPause();
      this.#cancelPause = this.#options.timeline.after(ROUND_MAX_MS, () => this.#wake(0));
    });
  }

  #round(): void {
    const { registry, timeline, repository, settings, realMs, onStep } = this.#options;
    const { view } = this.#watched;
    for (let steps = 0; steps < STEPS_PER_ROUND_MAX; steps++) {
      const startMs = realMs();
      const state = readClusterState(view.entries.values());
      const { step } = nextStep({
        state,
        repository,
        ...this.#shards.observe(state, timeline.nowMs()),
        retiringForMs: this.#retiring.observe(state, timeline.nowMs()),
        nowMs: timeline.wallMs(),
        settings,
      });
      this.decisionMsMax = Math.max(this.decisionMsMax, realMs() - startMs);
      if (!step) return;
      const operations = step.operations as Parameters<SimRegistry["txn"]>[2]; // the leader writes nothing under a lease
      try {
        registry.txn("leader", step.compares, operations);
      } catch {
        return; // the view is behind; its next event starts the next round
      }
      registry.reach(view, operations);
      onStep(step, state);
    }
  }
}
