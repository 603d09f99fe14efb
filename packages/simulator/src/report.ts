import { simulateFanOut } from "./fan-out.js";
import { type Scenario, SCENARIOS } from "./scenarios.js";
import type { DecisionCost } from "./sim-leader.js";
import { Simulation, type SimulationOptions } from "./simulation.js";

/** A line of a printed table. */
export interface Row {
  readonly name: string;
  readonly text: string;
  readonly seconds: number;
  readonly movedReplicas: number;
  readonly leastReplicas: number;
  readonly movedBytes: number;
  readonly writeCount: number;
  readonly leaderWrites: number;
  readonly watchedBytes: number;
  readonly imbalance: number;
  readonly cost: DecisionCost;
}

/**
 * Runs the scenarios one after another on one cluster.
 *
 * @param only  names; empty = all
 * @throws Error at the first broken invariant: what, when, and what was run up to then
 */
export function runScenarios(
  options: SimulationOptions,
  only: readonly string[],
  onRow: (row: Row) => void = () => undefined,
): Row[] {
  const simulation = new Simulation(options);
  const rows: Row[] = [];
  for (const scenario of SCENARIOS) {
    const { name, text } = scenario;
    if (only.length > 0 && name !== "start" && !only.includes(name)) continue;
    const { outcome, leastReplicas } = attempt(scenario, simulation, rows);
    const { seconds, movedReplicas, movedBytes, writes, writeCount, watchedBytes, imbalance, cost } = outcome;
    const row: Row = {
      name,
      text,
      seconds,
      movedReplicas,
      leastReplicas,
      movedBytes,
      writeCount,
      leaderWrites: writes["leader"] ?? 0,
      watchedBytes,
      imbalance,
      cost,
    };
    rows.push(row);
    onRow(row);
  }
  return rows;
}

/** A scenario goes on from what those before it left: all are needed to see it again. */
function attempt(scenario: Scenario, simulation: Simulation, before: readonly Row[]): ReturnType<Scenario["run"]> {
  try {
    return scenario.run(simulation);
  } catch (error) {
    const { seed } = simulation.options;
    const names = [...before.map(({ name }) => name), scenario.name].join(" ");
    throw new Error(`seed ${seed}, scenarios ${names}: ${(error as Error).message}`, { cause: error });
  }
}

/** What the scenarios measured, a line each. */
export function scenarioTable(rows: readonly Row[]): string {
  const lines = rows.map(
    ({
      text,
      seconds,
      movedReplicas,
      leastReplicas,
      movedBytes,
      writeCount,
      leaderWrites,
      watchedBytes,
      imbalance,
    }) => {
      const ratio = leastReplicas > 0 ? (movedReplicas / leastReplicas).toFixed(2) : movedReplicas > 0 ? "-" : "";
      return `| ${[text, seconds.toFixed(0), movedReplicas, ratio, gib(movedBytes), writeCount, leaderWrites, mib(watchedBytes), imbalance.toFixed(2)].join(" | ")} |`;
    },
  );
  return [
    "| what happens | s to rest | replicas moved | x least | GiB moved | etcd writes | by the leader | MiB to watchers | imbalance |",
    "|---|---|---|---|---|---|---|---|---|",
    ...lines,
  ].join("\n");
}

/** What the fan-outs measured, a line each. */
export function fanOutTable(seed: number, requestCount: number): string {
  const lines: string[] = [];
  for (const shardCount of [10, 100, 1000]) {
    for (const hedgeShare of [0, 0.05]) {
      const found = simulateFanOut({
        seed,
        shardCount,
        partitionCount: 4001,
        replication: 2,
        requestCount,
        rowsPerRequest: 512,
        hedgeShare,
      });
      const { p50Ms, p99Ms, p999Ms, framesPerRequest, extraFrames } = found;
      const cells = [
        shardCount,
        hedgeShare > 0 ? `${hedgeShare * 100} %` : "none",
        framesPerRequest.toFixed(0),
        p50Ms.toFixed(1),
        p99Ms.toFixed(1),
        p999Ms.toFixed(1),
        `${(extraFrames * 100).toFixed(1)} %`,
      ];
      lines.push(`| ${cells.join(" | ")} |`);
    }
  }
  return [
    "| shards | hedging budget | frames a request | p50 ms | p99 ms | p99.9 ms | further frames |",
    "|---|---|---|---|---|---|---|",
    ...lines,
  ].join("\n");
}

function gib(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(0);
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
