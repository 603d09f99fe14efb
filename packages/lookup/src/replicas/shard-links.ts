import { type CancelSignal, type Clock, type Logger, type Random, ServingError } from "@shardserve/core";
import type { PartitionMap } from "@shardserve/placement";
import type { BufferPool, ProofExpectation, TransportLimits } from "@shardserve/transport";
import type { Routes } from "../fetch/frame-plan.js";
import { type ShardDirectory, ShardLink } from "./shard-link.js";

export interface ShardLinksOptions {
  /** "ctr/3", for messages. */
  readonly servable: string;
  readonly directory: ShardDirectory;
  readonly machine: string;
  readonly peer: string;
  readonly expectation: ProofExpectation;
  readonly partitionCount: number;
  /** How long a link that the map no longer names may finish what is in flight, in milliseconds. */
  readonly drainMs: number;
  readonly limits: Partial<TransportLimits> | undefined;
  readonly pool: BufferPool;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** How long to wait until a version is ready. */
export interface ReadyOptions {
  readonly signal?: CancelSignal;
  readonly deadlineMs: number;
  /** Told, with each look, what it still waits for. */
  readonly onWaiting?: (why: string) => void;
}

/** How often proofs are looked at while a version becomes ready. */
const READY_POLL_MS = 50;
/** How often it is seen whether a connected shard may hold more of what the map gives it than it proved. */
const LACKING_POLL_MS = 1_000;

/** The links to the shards of one partition map, kept from map to map. */
export class ShardLinks {
  readonly #options: ShardLinksOptions;
  readonly #links = new Map<string, ShardLink>();
  #routes: Routes | undefined;
  #cancelPoll: () => void;

  constructor(options: ShardLinksOptions) {
    this.#options = options;
    this.#cancelPoll = this.#pollLater();
  }

  /** Undefined before the first map. */
  get routes(): Routes | undefined {
    return this.#routes;
  }

  /** Swaps the map as a whole; links to shards that it names no more are drained. */
  setMap(map: PartitionMap): void {
    const links = map.shards.map((shard) => this.#link(shard));
    this.#routes = { map, links };
    for (const [shard, link] of this.#links) {
      if (links.includes(link)) continue;
      this.#links.delete(shard);
      void link.close(this.#options.drainMs);
    }
    this.#forLacking((link) => link.refresh());
  }

  /**
   * Waits until every partition has a replica that proved it.
   *
   * @throws ServingError UNAVAILABLE naming a partition and why, when the deadline passes first; the signal's reason
   */
  async whenReady(options: ReadyOptions): Promise<void> {
    const { clock, servable } = this.#options;
    for (;;) {
      const gap = this.#findGap();
      if (gap === undefined) return;
      const why = `${servable} is not ready: ${gap}`;
      if (clock.nowMs() >= options.deadlineMs) throw new ServingError("UNAVAILABLE", why);
      options.onWaiting?.(why);
      options.signal?.throwIfAborted();
      this.#forLacking((link) => link.refresh());
      await new Promise<void>((resolve) => clock.after(READY_POLL_MS, resolve));
    }
  }

  async close(): Promise<void> {
    this.#cancelPoll();
    await Promise.all([...this.#links.values()].map((link) => link.close(0)));
  }

  #link(shard: string): ShardLink {
    const known = this.#links.get(shard);
    if (known) return known;
    const { servable, logger, ...options } = this.#options;
    const link = new ShardLink({ ...options, shard, logger: logger.child({ shard, servable }) });
    this.#links.set(shard, link);
    void link.start();
    return link;
  }

  /** A shard that starts answers from its first file on; what it reads after that it tells nobody by itself. */
  #pollLater(): () => void {
    return this.#options.clock.after(LACKING_POLL_MS, () => {
      this.#forLacking((link) => link.refreshSeldom());
      this.#cancelPoll = this.#pollLater();
    });
  }

  /** For shards that the map gives more than they proved. */
  #forLacking(act: (link: ShardLink) => Promise<void>): void {
    if (!this.#routes) return;
    const { map, links } = this.#routes;
    const isLacking = links.map(() => false);
    for (let i = 0; i < map.replicas.length; i++) {
      const index = map.replicas[i]!;
      if (!links[index]?.holds(Math.floor(i / map.replication))) isLacking[index] = true;
    }
    links.forEach((link, i) => {
      if (isLacking[i]) void act(link);
    });
  }

  #findGap(): string | undefined {
    if (!this.#routes) return "no partition map is known yet";
    const { map, links } = this.#routes;
    for (let partition = 0; partition < map.partitionCount; partition++) {
      const start = partition * map.replication;
      const replicas = [...map.replicas.subarray(start, start + map.replication)].map((i) => links[i]);
      if (replicas.some((link) => link?.holds(partition))) continue;
      const why = replicas.map((link) => `${link?.shard}: ${link?.lastError?.message ?? "not proved"}`).join("; ");
      return `partition ${partition} has no replica that proved it (${why})`;
    }
    return undefined;
  }
}
