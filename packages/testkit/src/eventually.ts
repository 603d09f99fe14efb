/** How long, and how often, something is looked at. */
export interface EventuallyOptions {
  /** Default 10 s. */
  readonly timeoutMs?: number;
  /** Pause between tries; default 20 ms. */
  readonly intervalMs?: number;
}

/**
 * Repeats `attempt` until it neither throws nor returns false, and gives its result.
 *
 * @throws Error with the last failure as its cause when time runs out
 */
export async function eventually<T>(attempt: () => T | Promise<T>, options: EventuallyOptions = {}): Promise<T> {
  const { timeoutMs = 10_000, intervalMs = 20 } = options;
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    let failure: unknown;
    try {
      const result = await attempt();
      if (result !== false) return result;
      failure = new Error("it returned false");
    } catch (error) {
      failure = error;
    }
    if (performance.now() > deadlineMs) {
      const text = failure instanceof Error ? failure.message : String(failure);
      throw new Error(`still not so after ${timeoutMs} ms: ${text}`, { cause: failure });
    }
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}
