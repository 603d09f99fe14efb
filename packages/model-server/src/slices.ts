import type { CancelSignal } from "@shardserve/core";

/**
 * Runs a computation that pauses to let other requests in: a small one finishes at once, without a promise; a big one
 * yields to the event loop at each of its pauses.
 *
 * @throws the signal's reason when it aborts at a pause; what the computation throws
 */
export function runInSlices<T>(slices: Generator<undefined, T>, signal?: CancelSignal): T | Promise<T> {
  const first = slices.next();
  return first.done ? first.value : runOn(slices, signal);
}

async function runOn<T>(slices: Generator<undefined, T>, signal: CancelSignal | undefined): Promise<T> {
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
    const slice = slices.next();
    if (slice.done) return slice.value;
  }
}

/** Bytes copied between two pauses: a millisecond or two. */
const COPY_BYTES = 4 * 2 ** 20;

/** One buffer of all parts, copied in slices. */
export function* concatInSlices(parts: readonly Uint8Array[]): Generator<undefined, Buffer> {
  const [first] = parts;
  if (parts.length === 1)
    return Buffer.isBuffer(first) ? first : Buffer.from(first!.buffer, first!.byteOffset, first!.byteLength);
  let total = 0;
  for (const part of parts) total += part.length;
  const out = Buffer.allocUnsafe(total);
  let at = 0;
  let pauseAt = COPY_BYTES;
  for (const part of parts) {
    for (let from = 0; from < part.length; from += COPY_BYTES) {
      const piece = part.length <= COPY_BYTES ? part : part.subarray(from, from + COPY_BYTES);
      out.set(piece, at);
      at += piece.length;
      if (at >= pauseAt) {
        yield;
        pauseAt = at + COPY_BYTES;
      }
    }
  }
  return out;
}
