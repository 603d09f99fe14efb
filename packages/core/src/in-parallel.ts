/**
 * Calls for each item, in order, `atOnce` at a time. After a failure nothing is begun any more, and what is under way has ended
 * when this rejects.
 *
 * @throws what `work` throws first
 */
export async function inParallel<T>(
  items: Iterable<T>,
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const waiting = items[Symbol.iterator]();
  let isOver = false;
  const workers = Array.from({ length: atOnce }, async () => {
    for (let next = waiting.next(); !next.done && !isOver; next = waiting.next()) await work(next.value);
  });
  try {
    await Promise.all(workers);
  } catch (error) {
    isOver = true;
    await Promise.allSettled(workers);
    throw error;
  }
}
