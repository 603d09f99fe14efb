import { type Random, seededRandom } from "@shardserve/core";
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

/** A shard as the executor sees it, which pauses now and then. Has what a choice of replicas looks at. */
class Link {
  readonly health: ShardHealth;
  readonly zone = "";
  rowsInFlight = 0;
  readonly #random: Random;
  /** When the next pause begins and ends. */
  #stallFromMs: number;
  #stallUntilMs: number;

  constructor(random: Random) {
    this.health = new ShardHealth(random);
    this.#random = random;
    this.#stallFromMs = STALL_EVERY_MS * random.next();
    this.#stallUntilMs = this.#stallFromMs + STALL_MS;
  }

  holds(): boolean {
    return true;
  }

  /** How long a frame's answer takes; times of sending ascend, nearly. */
  answerMs(sentMs: number): number {
    while (sentMs >= this.#stallUntilMs) {
      this.#stallFromMs += STALL_EVERY_MS * (0.5 + this.#random.next());
      this.#stallUntilMs = this.#stallFromMs + STALL_MS * (0.5 + this.#random.next());
    }
    const usualMs = BASE_MS - TAIL_MS * Math.log(1 - this.#random.next());
    return (sentMs >= this.#stallFromMs ? this.#stallUntilMs - sentMs : 0) + usualMs;
  }
}

type Links = ConstructorParameters<typeof ReplicaChoice>[0]["links"];

/** What one link is asked for: rows by partition. */
interface PlannedFrame {
  rows: number;
  readonly partitions: Map<number, number>;
}

/**
 * The tail of requests that ask many shards, by the executor's own choice of replicas and hedging: a request is as slow as
 * the slowest of its frames, so a pause of any shard is felt by nearly all of them.
 */
export function simulateFanOut(options: FanOutOptions): FanOutResult {
  const { requestCount, rowsPerRequest } = options;
  const random = seededRandom(options.seed);
  const fanOut = new FanOut(options, random);
  const latencies = new Float64Array(requestCount);
  for (let r = 0; r < requestCount; r++) {
    latencies[r] = fanOut.requestMs(rowsByPartition(fanOut.map, rowsPerRequest, random), r * REQUEST_EVERY_MS);
  }
  latencies.sort();
  const quantile = (q: number) => latencies[Math.min(requestCount - 1, Math.floor(q * requestCount))]!;
  return {
    p50Ms: quantile(0.5),
    p99Ms: quantile(0.99),
    p999Ms: quantile(0.999),
    extraFrames: fanOut.hedgeCount / fanOut.frameCount,
    framesPerRequest: fanOut.frameCount / requestCount,
  };
}

/** One executor and its shards. */
class FanOut {
  readonly map: PartitionMap;
  readonly #random: Random;
  readonly #links: readonly Link[];
  readonly #hedging: Hedging;
  /** Sent by requests, hedges not counted. */
  frameCount = 0;
  hedgeCount = 0;

  constructor({ shardCount, partitionCount, replication, hedgeShare }: FanOutOptions, random: Random) {
    const ids = Array.from({ length: shardCount }, (_, i) => `shard-${String(i).padStart(4, "0")}`);
    const shards = ids.map((id) => ({ id, weight: 1, zone: "" }));
    this.map = place(shards, partitionCount, replication, { model: "m", version: 1, generation: 1 });
    this.#random = random;
    this.#links = this.map.shards.map(() => new Link(random));
    this.#hedging = new Hedging({ budgetShare: hedgeShare });
  }

  /** Sends a request's frames at once. @returns when the last was answered */
  requestMs(partitions: ReadonlyMap<number, number>, sentMs: number): number {
    let slowestMs = 0;
    for (const [index, frame] of this.#plan(partitions, sentMs, { avoid: new Set(), isHedge: false }) ?? []) {
      slowestMs = Math.max(slowestMs, this.#frameMs(this.#links[index]!, frame, sentMs));
    }
    return slowestMs;
  }

  /** One frame's answer, or its hedges' where those come first. */
  #frameMs(link: Link, frame: PlannedFrame, sentMs: number): number {
    const hedging = this.#hedging;
    this.frameCount++;
    hedging.earn();
    const bytes = frame.rows * ROW_BYTES;
    const doneMs = link.answerMs(sentMs);
    const delayMs = hedging.delayMs(sizeClass(bytes), this.#links, sentMs);
    link.health.observe(doneMs, bytes, sentMs);
    if (!hedging.isOn || doneMs <= delayMs) return doneMs;
    const hedgedAtMs = sentMs + delayMs;
    const avoid = new Set([link]) as unknown as ChoiceOptions["avoid"];
    const second = this.#plan(frame.partitions, hedgedAtMs, { avoid, isHedge: true });
    if (!second || !hedging.spend(second.size)) return doneMs;
    this.hedgeCount += second.size;
    const answers = [...second.keys()].map((other) => delayMs + this.#links[other]!.answerMs(hedgedAtMs));
    return Math.min(doneMs, Math.max(...answers));
  }

  /** Frames by link; undefined = some partition has no replica that may be asked. */
  #plan(
    partitions: ReadonlyMap<number, number>,
    nowMs: number,
    how: Pick<ChoiceOptions, "avoid" | "isHedge">,
  ): Map<number, PlannedFrame> | undefined {
    const routes = { map: this.map, links: this.#links as unknown as Links };
    const choice = new ReplicaChoice(routes, { ...how, zone: "", nowMs }, this.#random);
    const plan = new Map<number, PlannedFrame>();
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
  }
}

function rowsByPartition(map: PartitionMap, rows: number, random: Random): Map<number, number> {
  const counts = new Map<number, number>();
  for (let i = 0; i < rows; i++) {
    const partition = Math.floor(random.next() * map.partitionCount);
    counts.set(partition, (counts.get(partition) ?? 0) + 1);
  }
  return counts;
}
