import type { Random } from "@shardserve/core";
import type { Registry } from "@shardserve/registry";
import { DriftingLoad } from "../cluster/support/drifting-load.js";
import { DRIFTING } from "../cluster/support/drifting-model.js";
import type { LiveCluster } from "../cluster/support/live-cluster.js";
import { whenAvailable } from "../cluster/support/roles.js";
import { STAMPED } from "../cluster/support/stamped-model.js";
import { SteadyLoad } from "../cluster/support/steady-load.js";
import { checkAnswers, checkControlPlane, checkEpochs } from "./verifier.js";

/** The same seed gives the same faults in the same order; what the processes make of them is theirs. */
export const SEED = Number(process.env.CHAOS_SEED ?? 1);
/** Of all suites of faults together. */
export const MINUTES = Number(process.env.CHAOS_MINUTES ?? 3);
export const SHARDS = ["shard-0", "shard-1", "shard-2", "shard-3"];
/** Only faults whose name contains it. */
const ONLY = process.env.CHAOS_ONLY ?? "";

/** What faults of every kind act on. */
export interface Scene {
  readonly cluster: LiveCluster;
  readonly random: Random;
}

/**
 * Something that goes wrong and is put right again. Every one leaves a replica of each partition reachable at any time, so
 * no request may fail; afterwards the cluster must become whole by itself.
 */
export interface Fault<S extends Scene> {
  readonly name: string;
  /** Why it cannot be injected on this machine; absent = it always can. */
  readonly obstacle?: (scene: S) => string | undefined;
  /** Injects, holds and heals. @returns what it did, for the log */
  run(scene: S): Promise<string>;
}

/** Publishes both models and starts all processes; resolves when everything is held and both executors answer. */
export async function startWhole(cluster: LiveCluster): Promise<void> {
  await Promise.all([cluster.publish(1), cluster.publishDrifting(0)]);
  const shards = SHARDS.map((id) => cluster.startShard(id));
  await Promise.all([...shards, cluster.startExecutor("executor-0"), cluster.startExecutor("executor-1")]);
  for (const id of cluster.executorIds) {
    for (const model of [STAMPED, DRIFTING]) await whenAvailable(cluster.front(id), model);
  }
  await cluster.untilWhole();
}

export const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export function pick<T>({ random }: Scene, items: readonly T[]): T {
  return items[Math.floor(random.next() * items.length)] as T;
}

export function between({ random }: Scene, min: number, max: number): number {
  return min + random.next() * (max - min);
}

/**
 * One fault after another until time is up, each once before any comes again, while clients of executor-0 compare every
 * element of every answer with what the version and the epoch that the answer claims must say.
 *
 * @param untilMs  on performance.now()'s scale
 */
export async function runFaults<S extends Scene>(
  scene: S,
  faults: readonly Fault<S>[],
  options: { readonly registry: Registry; readonly untilMs: number },
): Promise<void> {
  const possible = faults.filter(({ name, obstacle }) => {
    if (!name.includes(ONLY)) return false;
    const why = obstacle?.(scene);
    if (why !== undefined) console.log(`      SKIPPED ${name}: ${why}`);
    return why === undefined;
  });
  if (possible.length === 0) return;
  let queue: Fault<S>[] = [];
  for (let count = 1; performance.now() < options.untilMs; count++) {
    if (queue.length === 0) queue = shuffled(possible, scene.random);
    const fault = queue.pop() as Fault<S>;
    const { grpc } = scene.cluster.front("executor-0");
    await using load = new SteadyLoad(grpc, count);
    await using drifting = new DriftingLoad(grpc, count);
    await load.more(20);
    const startedMs = performance.now();
    const what = await fault.run(scene);
    await load.more(20);
    await scene.cluster.untilWhole();
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    const result = await load.stop();
    await drifting.stop();
    const failed = result.failures.length + drifting.failures.length;
    console.log(
      `      ${count}. ${fault.name}: ${what} (${seconds} s, ${result.ok} and ${drifting.epochs.length} answers, ${failed} failed)`,
    );
    await checkControlPlane(options.registry, fault.name);
    const during = `seed ${SEED}, fault ${count}, ${fault.name}: ${what}`;
    checkAnswers(result, during);
    checkEpochs(drifting, during);
  }
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const mixed = [...items];
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = Math.floor(random.next() * (i + 1));
    [mixed[i], mixed[j]] = [mixed[j] as T, mixed[i] as T];
  }
  return mixed;
}
