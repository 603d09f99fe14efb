import {
  type ClusterState,
  type ControllerSettings,
  decide,
  type Decision,
  readClusterState,
  type RepositoryContents,
  RefusalWatch,
  RetireWatch,
  ShardWatch,
  type Step,
} from "@shardserve/controller";
import type { Pieces } from "@shardserve/core";
import type { SimRegistry, SimView } from "./sim-registry.js";
import type { Timeline } from "./timeline.js";

/** As the Controller's. */
const STEPS_PER_ROUND_MAX = 64;
const ROUND_MAX_MS = 500;
const ROUND_MIN_MS = 50;

/** Processor time of the leader, in milliseconds; differs from run to run. */
export interface DecisionCost {
  /** Of the longest decision. */
  readonly decisionMsMax: number;
  /** Of the longest piece of a decision: that long the event loop stands still. */
  readonly turnMsMax: number;
}

export const NO_COST: DecisionCost = { decisionMsMax: 0, turnMsMax: 0 };

export function maxCost(a: DecisionCost, b: DecisionCost): DecisionCost {
  return {
    decisionMsMax: Math.max(a.decisionMsMax, b.decisionMsMax),
    turnMsMax: Math.max(a.turnMsMax, b.turnMsMax),
  };
}

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

/** The leader's loop over the real decisions, with the views of a process behind a network. */
export class SimLeader {
  readonly #options: SimLeaderOptions;
  readonly #watched: { readonly view: SimView; readonly end: () => void };
  readonly #shards: ShardWatch;
  readonly #retiring = new RetireWatch();
  readonly #refusals: RefusalWatch;
  #isEnded = false;
  #isAwake = false;
  #cancelPause: () => void = () => undefined;
  /** What decisions cost so far. */
  cost: DecisionCost = NO_COST;

  constructor(options: SimLeaderOptions) {
    this.#options = options;
    this.#shards = new ShardWatch(options.timeline.nowMs());
    this.#refusals = new RefusalWatch(options.settings.replaceAfterMs);
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
    const { registry, timeline, repository, settings, onStep } = this.#options;
    const { view } = this.#watched;
    for (let steps = 0; steps < STEPS_PER_ROUND_MAX; steps++) {
      const state = readClusterState(view.entries.values());
      const observed = {
        state,
        repository,
        ...this.#shards.observe(state, timeline.nowMs()),
        avoided: this.#refusals.observe(state, timeline.nowMs()),
        retiringForMs: this.#retiring.observe(state, timeline.nowMs()),
        nowMs: timeline.wallMs(),
        settings,
      };
      const { step } = this.#measured(decide(observed));
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

  #measured(pieces: Pieces<Decision>): Decision {
    const { realMs } = this.#options;
    const startMs = realMs();
    let turnMsMax = 0;
    for (;;) {
      const turnMs = realMs();
      const piece = pieces.next();
      turnMsMax = Math.max(turnMsMax, realMs() - turnMs);
      if (!piece.done) continue;
      this.cost = maxCost(this.cost, { decisionMsMax: realMs() - startMs, turnMsMax });
      return piece.value;
    }
  }
}
