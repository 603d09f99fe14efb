import { type Logger, ServingError } from "@shardserve/core";
import { LABELS_PREFIX, labelsRecord, parseKey, type Registry, RegistryView } from "@shardserve/registry";
import type { Manager } from "@shardserve/servable";

/**
 * Gives the manager the labels that operators wrote (`shardserve label`). A label whose version this executor does not have
 * yet is given as soon as it has; until then it stays on the version that it had, so that no request is refused for a switch.
 *
 * @returns a function that ends it
 */
export function followLabels(registry: Registry, manager: Manager, logger: Logger): () => Promise<void> {
  const view = new RegistryView(registry, LABELS_PREFIX, { logger });
  const given = new Map<string, Map<string, number>>();
  const apply = () => {
    const wanted = new Map<string, ReadonlyMap<string, number>>();
    for (const entry of view.entries.values()) {
      const key = parseKey(entry.key);
      if (key?.kind !== "labels") continue;
      try {
        wanted.set(key.model, labelsRecord.decode(entry.value, entry.key).labels);
      } catch (error) {
        logger.error({ error: ServingError.from(error).message }, "unreadable labels; the last ones stay");
        wanted.set(key.model, given.get(key.model) ?? new Map());
      }
    }
    for (const model of new Set([...wanted.keys(), ...given.keys()])) give(model, wanted.get(model) ?? new Map());
  };
  const give = (model: string, wanted: ReadonlyMap<string, number>) => {
    const available = new Set(
      (manager.statuses(model) ?? []).flatMap(({ version, state }) => (state === "AVAILABLE" ? [version] : [])),
    );
    const before = given.get(model);
    const labels = new Map<string, number>();
    for (const [label, version] of wanted) {
      const possible = available.has(version) ? version : before?.get(label);
      if (possible !== undefined) labels.set(label, possible);
    }
    if (before && JSON.stringify([...labels]) === JSON.stringify([...before])) return;
    if (!before && labels.size === 0) return;
    given.set(model, labels);
    manager.setLabels(model, labels, true);
  };
  view.subscribe(apply);
  const unsubscribe = manager.onChange(apply);
  view.start();
  return async () => {
    unsubscribe();
    await view.close();
  };
}
