/** Rejects with the first failure, but only when none runs any more. */
export async function allSettled(running: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(running)) if (outcome.status === "rejected") throw outcome.reason;
}
