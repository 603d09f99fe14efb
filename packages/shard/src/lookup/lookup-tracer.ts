import type { TraceParent } from "@shardserve/core";
import type { Exchange, LookupRequest } from "@shardserve/transport";
import type { ServedVersion } from "../versions/served-version.js";

/** Takes spans. */
export interface SpanSink {
  /**
   * A span inside of another process's, over now.
   *
   * @param startMs  by the monotonic clock
   */
  record(
    name: string,
    startMs: number,
    parent: TraceParent,
    attributes: Readonly<Record<string, string | number>>,
    error: { readonly code: string; readonly message: string } | undefined,
  ): void;
}

/** Tells of traced lookups: a span "shard" each, from the arrival to the answer. */
export class LookupTracer {
  readonly #spans: SpanSink;
  readonly #shard: string;

  constructor(spans: SpanSink, shard: string) {
    this.#spans = spans;
    this.#shard = shard;
  }

  /** @param arrivedMs  by the monotonic clock */
  follow(exchange: Exchange, request: LookupRequest, { model, version }: ServedVersion, arrivedMs: number): void {
    const parent = request.trace;
    if (!parent) return;
    const attributes = {
      "shardserve.shard": this.#shard,
      "shardserve.model": model,
      "shardserve.version": version,
      "shardserve.epoch": request.epoch,
      "shardserve.rows": request.idCount,
    };
    exchange.onAnswered((error) => this.#spans.record("shard", arrivedMs, parent, attributes, error));
  }
}
