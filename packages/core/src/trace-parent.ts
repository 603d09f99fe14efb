/**
 * Names a span to what happens elsewhere in its course: others begin spans of their own inside of it, and it may itself be told
 * to the collector later. Only sampled requests have one.
 */
export class TraceParent {
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  /** When it was first sent to another process, on the clock's `nowMs` scale; undefined = nobody else knows of it. */
  sentMs: number | undefined = undefined;

  constructor(traceId: string, spanId: string) {
    this.traceId = traceId;
    this.spanId = spanId;
  }
}
