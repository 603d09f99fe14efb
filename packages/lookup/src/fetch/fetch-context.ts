import type { CancelSignal, Clock, Random, TraceParent } from "@shardserve/core";
import type { BufferPool } from "@shardserve/transport";
import type { Routes } from "./frame-plan.js";
import type { Hedging } from "../replicas/hedging.js";
import type { LookupTrace } from "../report/lookup-trace.js";
import type { LookupMetrics } from "../metrics.js";
import type { RedisRows } from "../redis/redis-rows.js";

/** What all fetches of a version share. */
export interface FetchContext {
  /** The routes now; they may be swapped at any time. */
  readonly routes: () => Routes;
  readonly clock: Clock;
  readonly random: Random;
  readonly hedging: Hedging;
  readonly metrics: LookupMetrics;
  /** "ctr/3", for messages. */
  readonly servable: string;
  /** Our failure domain; "" = not known. */
  readonly zone: string;
  /** Memory of requests and replies. */
  readonly pool: BufferPool;
  readonly redis: RedisRows | undefined;
  readonly redisFor: RedisFor;
}

/** `misses`: before the shards, for every row that is not cached. `dark`: only for rows that no shard can give. */
export type RedisFor = "misses" | "dark";

/** Of one fetch. */
export interface FetchOptions {
  readonly signal?: CancelSignal | undefined;
  /** On the clock's `nowMs` scale. */
  readonly deadlineMs: number;
  /** What stands in for rows that cannot be had; the batch is detached. Absent = nothing does. */
  readonly degrade?: { readonly staleEpochs: readonly number[]; readonly allowDefault: boolean };
  /** Shards put their spans inside of it; absent = the request is not traced. */
  readonly traceParent?: TraceParent | undefined;
  /** Takes down where rows come from; absent = nobody asked. */
  readonly trace?: LookupTrace | undefined;
}
