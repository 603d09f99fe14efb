import { TraceParent } from "@shardserve/core";

/**
 * The trace at the end of a LOOKUP payload: 16 bytes trace id, 8 bytes span id, as in W3C's traceparent. It has no flags: that a
 * request is sampled is why it is there at all.
 */
export const TRACE_BYTES = 24;

const DIGITS_PER_WORD = 8;

/** @param at  in words */
export function writeTrace(words: Int32Array, at: number, { traceId, spanId }: TraceParent): void {
  const digits = traceId + spanId;
  const view = viewOf(words, at);
  for (let i = 0; i < TRACE_BYTES; i += 4) {
    view.setUint32(i, Number.parseInt(digits.slice(2 * i, 2 * i + DIGITS_PER_WORD), 16));
  }
}

/** @param at  in words */
export function readTrace(words: Int32Array, at: number): TraceParent {
  const view = viewOf(words, at);
  let digits = "";
  for (let i = 0; i < TRACE_BYTES; i += 4) digits += view.getUint32(i).toString(16).padStart(DIGITS_PER_WORD, "0");
  return new TraceParent(digits.slice(0, 32), digits.slice(32));
}

function viewOf({ buffer, byteOffset }: Int32Array, at: number): DataView {
  return new DataView(buffer, byteOffset + 4 * at, TRACE_BYTES);
}
