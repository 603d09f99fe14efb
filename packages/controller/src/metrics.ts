import { Counter, Gauge, type Registry as MetricsRegistry } from "prom-client";
import type { ClusterState } from "./observe/cluster-state.js";
import { moveCounts } from "./decide/moves-in-flight.js";
import type { Decision, Step } from "./decide/step.js";

/** Metrics of the control plane; only the leader's change. */
export class ControllerMetrics {
  readonly #isLeader: Gauge;
  readonly #steps: Counter;
  readonly #conflicts: Counter;
  readonly #failures: Counter;
  readonly #waiting: Gauge;
  readonly #shards: Gauge;
  readonly #generation: Gauge;
  readonly #moving: Gauge;
  readonly #movesLeft: Gauge;
  readonly #movedBytes: Counter;
  readonly #unsteady: Gauge;

  constructor(registry: MetricsRegistry) {
    const registers = [registry];
    const gauge = (name: string, help: string, labelNames: readonly string[] = []) =>
      new Gauge({ name: `shardserve_controller_${name}`, help, labelNames: [...labelNames], registers });
    const counter = (name: string, help: string, labelNames: readonly string[] = []) =>
      new Counter({ name: `shardserve_controller_${name}`, help, labelNames: [...labelNames], registers });
    this.#isLeader = gauge("is_leader", "1 while this process leads the cluster");
    this.#steps = counter("steps_total", "Rollout and rebalance steps taken", ["kind"]);
    this.#conflicts = counter("conflicts_total", "Steps refused because the registry had changed");
    this.#failures = counter(
      "failures_total",
      "Rounds, and looks at the model repository, that failed: registry or repository away",
    );
    this.#waiting = gauge("waiting", "Versions that wait for something, see the log or `shardserve status`");
    this.#shards = gauge("shards", "Shards with a living lease");
    this.#moving = gauge("moves_in_flight", "Partitions of enabled versions that are being copied to other shards");
    this.#movesLeft = gauge("moves_left", "Partitions that move after those in flight");
    this.#movedBytes = counter("moved_bytes_total", "Bytes of replicas that flips brought into force on other shards");
    this.#unsteady = gauge("unsteady_shards", "Shards that are treated as gone because their registration flaps");
    this.#generation = gauge("map_generation", "Generation of the enabled partition map", ["model", "version"]);
  }

  leads(isLeader: boolean): void {
    this.#isLeader.set(isLeader ? 1 : 0);
    if (!isLeader) this.#generation.reset();
  }

  stepTaken({ kind, movedBytes }: Step): void {
    this.#steps.inc({ kind });
    this.#movedBytes.inc(movedBytes ?? 0);
  }

  conflict(): void {
    this.#conflicts.inc();
  }

  failure(): void {
    this.#failures.inc();
  }

  observed(state: ClusterState, decision: Decision, unsteadyCount: number): void {
    this.#unsteady.set(unsteadyCount);
    let [moving, left] = [0, 0];
    this.#waiting.set(decision.waiting.length);
    this.#shards.set(state.shards.size);
    this.#generation.reset();
    for (const [model, { versions }] of state.models) {
      for (const [version, { map }] of versions) {
        const moves = moveCounts(map?.value ?? {});
        moving += moves.inFlightCount;
        left += moves.leftCount;
        if (map?.value.enabled) this.#generation.set({ model, version: String(version) }, map.value.enabled.generation);
      }
    }
    this.#moving.set(moving);
    this.#movesLeft.set(left);
  }
}
