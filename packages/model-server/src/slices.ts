/**
 * Runs a computation that pauses to let other requests in: a small one finishes at once, a big one yields to the event
 * loop at each of its pauses.
 *
 * @throws the signal's reason when it aborts at a pause; what the computation throws
 */
export async function runInSlices<T>(slices: Generator<undefined, T>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    const slice = slices.next();
    if (slice.done) return slice.value;
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
  }
}
