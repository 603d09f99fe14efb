/** Traces of requests, without the library that makes them: see open-telemetry.ts. */

import type { TraceParent } from "@shardserve/core";

export type TraceAttributes = Readonly<Record<string, string | number>>;

/** What a span ended with. */
export interface TraceError {
  readonly code: string;
  readonly message: string;
}

/** One traced request. */
export interface RequestTrace {
  /** Names a stage before it is over, so that other processes can put their spans inside of it. */
  reserve(): TraceParent;
  /**
   * A part of the request that is over.
   *
   * @param startMs  by the monotonic clock
   * @param reserved  the name that it was given before; absent = none
   */
  stage(name: string, startMs: number, durationMs: number, reserved?: TraceParent): void;
  /** The request is over. @param error  what it failed with; undefined = answered */
  end(attributes: TraceAttributes, error: TraceError | undefined): void;
}

/** Traces of requests, whatever takes the spans. */
export interface Tracing {
  /**
   * Begins the trace of a request, within the caller's trace when it sent one.
   *
   * @param header  value of a request's header or metadata entry ("traceparent", "tracestate")
   * @returns undefined when this request is not sampled
   */
  begin(name: string, startMs: number, header: (name: string) => string | undefined): RequestTrace | undefined;
  /**
   * A span of this process inside of another one's, over now.
   *
   * @param startMs  by the monotonic clock
   */
  record(
    name: string,
    startMs: number,
    parent: TraceParent,
    attributes: TraceAttributes,
    error: TraceError | undefined,
  ): void;
  /** Sends what waits; call after the last request. */
  close(): Promise<void>;
}
