import { type Logger, ServingError } from "@shardserve/core";
import { parseKey, type Registry, RegistryView, TRAFFIC_PREFIX, trafficRecord } from "@shardserve/registry";
import type { Manager, TrafficPolicy } from "@shardserve/servable";

/**
 * Gives the manager the traffic policies that operators wrote (`shardserve traffic`), so that the executors of a cluster
 * switch together.
 *
 * @returns a function that ends it
 */
export function followTraffic(registry: Registry, manager: Manager, logger: Logger): () => Promise<void> {
  const view = new RegistryView(registry, TRAFFIC_PREFIX, { logger });
  view.subscribe(() => {
    const policies = new Map<string, TrafficPolicy>();
    for (const entry of view.entries.values()) {
      const key = parseKey(entry.key);
      if (key?.kind !== "traffic") continue;
      try {
        policies.set(key.model, trafficRecord.decode(entry.value, entry.key));
      } catch (error) {
        logger.error({ error: ServingError.from(error).message }, "unreadable traffic policy; the last one stays");
        const last = manager.trafficOf(key.model);
        if (last) policies.set(key.model, last);
      }
    }
    manager.replaceTraffic(policies);
  });
  view.start();
  return () => view.close();
}
