import type { Outcome, Simulation } from "./simulation.js";

/** A disturbance of a cluster at rest, and the least that must move for it. */
export interface Scenario {
  readonly name: string;
  readonly text: string;
  run(simulation: Simulation): { readonly outcome: Outcome; readonly leastReplicas: number };
}

const shardIds = (simulation: Simulation) =>
  [...simulation.shards].filter(([, shard]) => shard.isAlive).map(([id]) => id);

/** Shards of a share; at least one. */
function some(simulation: Simulation, share: number): string[] {
  const ids = shardIds(simulation);
  const count = Math.max(1, Math.round(ids.length * share));
  const chosen = new Set<string>();
  while (chosen.size < count) chosen.add(ids[Math.floor(simulation.random.next() * ids.length)]!);
  return [...chosen];
}

/** What newcomers must be given: their share of every map, rounded down. */
function newcomersShare(simulation: Simulation, joined: number): number {
  const after = shardIds(simulation).length + joined;
  return simulation.enabledMaps().reduce((sum, { replicas }) => sum + joined * Math.floor(replicas.length / after), 0);
}

/** In this order, each on what the one before left. */
export const SCENARIOS: readonly Scenario[] = [
  {
    name: "start",
    text: "all shards start, every model is rolled out",
    run: (simulation) => ({ outcome: simulation.disturb(() => undefined), leastReplicas: 0 }),
  },
  {
    name: "join",
    text: "5 % more shards join",
    run(simulation) {
      const count = Math.max(1, Math.round(simulation.shards.size * 0.05));
      const leastReplicas = newcomersShare(simulation, count);
      const outcome = simulation.disturb(() => {
        for (let i = 0; i < count; i++) simulation.addShard();
      });
      return { outcome, leastReplicas };
    },
  },
  {
    name: "leader",
    text: "one shard joins and the leader is lost in the midst of the moves",
    run(simulation) {
      const leastReplicas = newcomersShare(simulation, 1);
      const outcome = simulation.disturb(() => {
        simulation.addShard();
        simulation.timeline.after(4_000, () => simulation.elect());
      });
      return { outcome, leastReplicas };
    },
  },
  {
    name: "drain",
    text: "2 % of the shards are drained and stopped",
    run(simulation) {
      const ids = some(simulation, 0.02);
      const leastReplicas = simulation.replicasOn(ids);
      const outcome = simulation.disturb(() => simulation.drain(ids));
      for (const id of ids) simulation.shards.get(id)?.kill();
      return { outcome, leastReplicas };
    },
  },
  {
    name: "kill",
    text: "one shard dies for good",
    run(simulation) {
      const ids = some(simulation, 0);
      const leastReplicas = simulation.replicasOn(ids);
      const outcome = simulation.disturb(() => simulation.shards.get(ids[0]!)?.kill());
      return { outcome, leastReplicas };
    },
  },
  {
    name: "restart",
    text: "10 % of the shards restart, one every 5 s",
    run(simulation) {
      const ids = some(simulation, 0.1);
      const outcome = simulation.disturb(
        () => {
          for (const [i, id] of ids.entries()) {
            simulation.timeline.after(i * 5_000, () => simulation.shards.get(id)?.kill());
            simulation.timeline.after(i * 5_000 + 3_000, () => simulation.shards.get(id)?.start());
          }
          simulation.timeline.runUntil(simulation.timeline.nowMs() + ids.length * 5_000);
        },
        { mayGoDark: true }, // two replicas of a partition may restart within one another's verification
      );
      return { outcome, leastReplicas: 0 };
    },
  },
  {
    name: "flap",
    text: "the lease of one shard comes and goes, six times in two minutes",
    run(simulation) {
      const [id] = some(simulation, 0);
      const leastReplicas = 2 * simulation.replicasOn([id as string]); // away, and back when it is steady
      const outcome = simulation.disturb(() => {
        for (let i = 0; i < 6; i++)
          simulation.timeline.after(i * 20_000, () => simulation.shards.get(id as string)?.loseLease());
        simulation.timeline.runUntil(simulation.timeline.nowMs() + 300_000);
      });
      return { outcome, leastReplicas };
    },
  },
  {
    name: "version",
    text: "a new version of one model",
    run(simulation) {
      const model = simulation.options.models[0]?.name as string;
      return { outcome: simulation.disturb(() => simulation.publish(model, 2)), leastReplicas: 0 };
    },
  },
  {
    name: "history",
    text: "etcd loses everything and begins anew",
    run: (simulation) => ({ outcome: simulation.disturb(() => simulation.loseHistory()), leastReplicas: 0 }),
  },
  {
    name: "zone",
    text: "a whole zone dies",
    run(simulation) {
      const dead = [...simulation.shards.values()].filter(({ zone, isAlive }) => isAlive && zone === "zone-1");
      const leastReplicas = simulation.replicasOn(dead.map(({ id }) => id));
      const outcome = simulation.disturb(() => {
        for (const shard of dead) shard.kill();
      });
      return { outcome, leastReplicas };
    },
  },
];
