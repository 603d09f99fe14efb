import { type Logger, ServingError, systemClock } from "@shardserve/core";
import { NEWS_KEY, newsRecord, type Registry } from "@shardserve/registry";

/**
 * Tells the leader that there is something new in the repository, so that it looks now. Never throws: where it cannot be told, the
 * leader looks when it is time to.
 */
export async function announceNews(registry: Registry, logger: Logger, signal: AbortSignal): Promise<void> {
  const value = newsRecord.encode({ writtenAtMs: Math.floor(systemClock.wallMs()) });
  try {
    await registry.txn([], [{ put: NEWS_KEY, value }], { signal });
  } catch (error) {
    const { message } = ServingError.from(error);
    logger.warn({ error: message }, "the leader is not told of an epoch; it finds it when it looks by itself");
  }
}
