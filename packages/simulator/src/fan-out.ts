import { seededRandom } from "@shardserve/core";
import { type ChoiceOptions, Hedging, ReplicaChoice, ShardHealth, sizeClass } from "@shardserve/lookup";
import { type PartitionMap, place } from "@shardserve/placement";

/** A cluster of `shardCount` shards and the requests that one executor sends it. */
export interface FanOutOptions {
  readonly seed: number;
  readonly shardCount: number;
  readonly partitionCount: number;
  readonly replication: number;
  readonly requestCount: number;
  /** Unique rows of a request. */
  readonly rowsPerRequest: number;
  /** Share of further frames that hedges may cost; 0 = no hedging. */
  readonly hedgeShare: number;
}

/** Latencies and load of a simulated fan-out. */
export interface FanOutResult {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  /** Frames sent over those that would have been without hedging. */
  readonly extraFrames: number;
  readonly framesPerRequest: number;
}

const REQUEST_EVERY_MS = 2;
const ROW_BYTES = 256;
/** A frame's usual answer: a fixed part and a tail, in milliseconds. */
const BASE_MS = 0.4;
const TAIL_MS = 0.15;
/** Each shard stands still now and then (garbage collection, a neighbour on the machine, a page from disk). */
const STALL_EVERY_MS = 2_000;
const STALL_MS = 25;

interface Link {
  readonly health: ShardHealth;
  readonly zone: string;
  rowsInFlight: number;
  /** When the next pause begins and ends. */
  stallFromMs: number;
  stallUntilMs: number;
  holds(partition: number): boolean;
}

type Links = ConstructorParameters<typeof ReplicaChoice>[0]["links"];

/**
 * The tail of requests that ask many shards, by the executor's own choice of replicas and hedging: a request is as slow as
 * the slowest of its frames, so a pause of any shard is felt by nearly all of them.
 */
export function simulateFanOut(options: FanOutOptions): FanOutResult {
  const { shardCount, partitionCount, replication, requestCount, rowsPerRequest, hedgeShare } = options;
  const random = seededRandom(options.seed);
  const shards = Array.from({ length: shardCount }, (_, i) => ({
    id: `shard-${String(i).padStart(4, "0")}`,
    weight: 1,
    zone: "",
  }));
  const map = place(shards, partitionCount, replication, { model: "m", version: 1, generation: 1 });
  const links = map.shards.map(
    (): Link => ({
      health: new ShardHealth(random),
      zone: "",
      rowsInFlight: 0,
      stallFromMs: STALL_EVERY_MS * random.next(),
      stallUntilMs: 0,
      holds: () => true,
    }),
  );
  for (const link of links) link.stallUntilMs = link.stallFromMs + STALL_MS;
  const hedging = new Hedging({ budgetShare: hedgeShare });
  const latencies = new Float64Array(requestCount);
  let [frames, hedges] = [0, 0];

  const answerMs = (link: Link, sentMs: number): number => {
    while (sentMs >= link.stallUntilMs) {
      link.stallFromMs += STALL_EVERY_MS * (0.5 + random.next());
      link.stallUntilMs = link.stallFromMs + STALL_MS * (0.5 + random.next());
    }
    const usualMs = BASE_MS - TAIL_MS * Math.log(1 - random.next());
    return (sentMs >= link.stallFromMs ? link.stallUntilMs - sentMs : 0) + usualMs;
  };
  const planned = (
    partitions: ReadonlyMap<number, number>,
    nowMs: number,
    how: Pick<ChoiceOptions, "avoid" | "isHedge">,
  ) => {
    // The links of the simulation have what a choice looks at.
    const routes = { map, links: links as unknown as Links };
    const choice = new ReplicaChoice(routes, { ...how, zone: "", nowMs }, random);
    const plan = new Map<number, { rows: number; readonly partitions: Map<number, number> }>();
    for (const [partition, rows] of partitions) {
      const link = choice.choose(partition);
      if (link < 0) return undefined;
      for (let i = 0; i < rows; i++) choice.assign(link);
      const frame = plan.get(link) ?? { rows: 0, partitions: new Map<number, number>() };
      frame.rows += rows;
      frame.partitions.set(partition, rows);
      plan.set(link, frame);
    }
    return plan;
  };

  for (let r = 0; r < requestCount; r++) {
    const sentMs = r * REQUEST_EVERY_MS;
    const plan = planned(rowsByPartition(map, rowsPerRequest, random), sentMs, { avoid: new Set(), isHedge: false });
    let slowestMs = 0;
    for (const [index, frame] of plan ?? []) {
      const link = links[index] as Link;
      frames++;
      hedging.earn();
      const bytes = frame.rows * ROW_BYTES;
      let doneMs = answerMs(link, sentMs);
      const size = sizeClass(bytes);
      const delayMs = hedging.delayMs(size, links, sentMs);
      link.health.observe(doneMs, bytes, sentMs);
      if (hedging.isOn && doneMs > delayMs) {
        const atMs = sentMs + delayMs;
        const second = planned(frame.partitions, atMs, {
          avoid: new Set([link]) as unknown as ChoiceOptions["avoid"],
          isHedge: true,
        });
        if (second && hedging.spend(second.size)) {
          hedges += second.size;
          const answers = [...second.keys()].map((other) => delayMs + answerMs(links[other] as Link, atMs));
          doneMs = Math.min(doneMs, Math.max(...answers));
        }
      }
      slowestMs = Math.max(slowestMs, doneMs);
    }
    latencies[r] = slowestMs;
  }
  latencies.sort();
  const quantile = (q: number) => latencies[Math.min(requestCount - 1, Math.floor(q * requestCount))] as number;
  return {
    p50Ms: quantile(0.5),
    p99Ms: quantile(0.99),
    p999Ms: quantile(0.999),
    extraFrames: hedges / frames,
    framesPerRequest: frames / requestCount,
  };
}

function rowsByPartition(map: PartitionMap, rows: number, random: { next(): number }): Map<number, number> {
  const counts = new Map<number, number>();
  for (let i = 0; i < rows; i++) {
    const partition = Math.floor(random.next() * map.partitionCount);
    counts.set(partition, (counts.get(partition) ?? 0) + 1);
  }
  return counts;
}
