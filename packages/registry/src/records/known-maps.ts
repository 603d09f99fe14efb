import { byIdentity, type Logger, ServingError, silentLogger } from "@shardserve/core";
import { isSamePlacement, type PartitionMap } from "@shardserve/placement";
import { parseKey } from "./cluster-keys.js";
import type { MapRecord } from "./cluster-records.js";
import { mapRecord } from "./record-codecs.js";
import type { Entry } from "../registry.js";
import type { RegistryView } from "../registry-view.js";

/** The maps of one version as this process acts on them. */
export interface KnownMap {
  readonly model: string;
  readonly version: number;
  readonly record: MapRecord;
  /** Of the entry that it was read from last. */
  readonly modRevision: number;
  /** The map in force, kept although the registry has an older one or none: it lost its history. */
  readonly held?: PartitionMap;
}

/** Once for all who read one view. */
const recordOf = byIdentity(({ value, key }: Entry) => mapRecord.decode(value, key));

type Source = Pick<RegistryView, "entries" | "historyCount">;

/**
 * Partition maps that never go back. Within one history of the registry its own order is the truth, deletions included.
 * When that history was lost (etcd restored from a backup, or begun anew), a map that was in force is held:
 *
 * - an older generation of it is taken as *staged* only, so that shards load what it says while executors go on;
 * - where the registry has nothing, the map stays until the model is served again without it;
 * - a newer generation ends the holding. The leader writes one, because shards report what they hold
 *   (HoldingRecord.heldGeneration).
 */
export class KnownMaps {
  readonly #logger: Logger;
  #known = new Map<string, KnownMap>();
  #historyCount = 0;
  #isOtherHistory = false;

  constructor(options: { readonly logger?: Logger } = {}) {
    this.#logger = options.logger ?? silentLogger;
  }

  /** By registry key. An object changes when, and only when, what it says does. */
  get all(): ReadonlyMap<string, KnownMap> {
    return this.#known;
  }

  /** Takes what the view shows now. */
  update(source: Source): void {
    this.#isOtherHistory = source.historyCount !== this.#historyCount;
    this.#historyCount = source.historyCount;
    const known = new Map<string, KnownMap>();
    for (const entry of source.entries.values()) {
      const found = this.#read(entry);
      if (found) known.set(entry.key, found);
    }
    const served = new Set(
      [...known.values()].filter(({ record, held }) => record.enabled && !held).map((m) => m.model),
    );
    for (const [key, before] of this.#known) {
      if (known.has(key)) continue;
      const held = this.#heldOf(before);
      if (!held || served.has(before.model)) continue;
      known.set(
        key,
        before.held
          ? before
          : { ...before, record: { ...withEpochs(held, before), enabled: held }, modRevision: 0, held },
      );
    }
    this.#known = known;
  }

  #read(entry: Entry): KnownMap | undefined {
    const key = parseKey(entry.key);
    if (key?.kind !== "map") return undefined;
    const before = this.#known.get(entry.key);
    if (before && before.modRevision === entry.modRevision && !this.#isOtherHistory) return before;
    const { model, version } = key;
    try {
      const record = recordOf(entry);
      const held = before && this.#heldOf(before);
      const base = { model, version, modRevision: entry.modRevision };
      if (!held || isNewer(record.enabled, held)) return { ...base, record };
      const staged = record.staged ?? record.enabled;
      const epochs = withEpochs(held, { record }) ?? withEpochs(held, before);
      return { ...base, record: { ...epochs, enabled: held, ...(staged && { staged }) }, held };
    } catch (error) {
      this.#logger.error({ error: ServingError.from(error).message }, "unreadable partition map; the last one stays");
      return before ? { ...before, modRevision: entry.modRevision } : undefined;
    }
  }

  #heldOf({ held, record }: KnownMap): PartitionMap | undefined {
    return held ?? (this.#isOtherHistory ? record.enabled : undefined);
  }
}

/** The deltas of a record, if the epoch of the held map is among them: they are kept as long as that map is. */
function withEpochs(
  { epoch }: PartitionMap,
  known: Pick<KnownMap, "record"> | undefined,
): Pick<MapRecord, "epochs"> | undefined {
  const { epochs } = known?.record ?? {};
  return epochs && (epoch === 0 || epochs.chain.some((ref) => ref.epoch === epoch)) ? { epochs } : undefined;
}

function isNewer(map: PartitionMap | undefined, held: PartitionMap): boolean {
  if (!map || map.generation < held.generation) return false;
  return map.generation > held.generation || (map.epoch >= held.epoch && isSamePlacement(map, held));
}
