/** Traces of requests, without the library that makes them: see open-telemetry.ts. */

export type TraceAttributes = Readonly<Record<string, string | number>>;

/** One traced request. */
export interface RequestTrace {
  /**
   * A part of the request that is over.
   *
   * @param startMs  by the monotonic clock
   */
  stage(name: string, startMs: number, durationMs: number, attributes?: TraceAttributes): void;
  /** The request is over. @param error  what it failed with; undefined = answered */
  end(attributes: TraceAttributes, error: { readonly code: string; readonly message: string } | undefined): void;
}

export interface Tracing {
  /**
   * Begins the trace of a request, within the caller's trace when it sent one.
   *
   * @param header  value of a request's header or metadata entry ("traceparent", "tracestate")
   * @returns undefined when this request is not sampled
   */
  begin(name: string, startMs: number, header: (name: string) => string | undefined): RequestTrace | undefined;
  /** Sends what waits; call after the last request. */
  close(): Promise<void>;
}
