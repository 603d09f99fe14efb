import type { GivenRows, LookupExplanation, RowFetch } from "@shardserve/core";
import type { ServableId } from "@shardserve/servable";
import type { BatchResult } from "../batching/member.js";

/** Together with the other entries it stays below the 8 KiB that some clients take. */
const TEXT_BYTES_MAX = 5 * 1024;

/** Ids named of each group, and groups and fetches named, tried in turn until the text is short enough. */
const IDS_MAX = [1000, 300, 100, 30, 10, 3, 0];

/** What `x-shardserve-explanation` says, as JSON. */
export interface ExplanationDocument {
  readonly model: string;
  readonly version: number;
  /** Absent where no rows were looked up. */
  readonly epoch?: number;
  readonly stagesMs: Readonly<Record<string, number>>;
  /** Distinct rows by where they came from. */
  readonly rows: readonly (Omit<GivenRows, "ids"> & {
    readonly count: number;
    /** The first of them. */
    readonly ids: readonly number[];
  })[];
  readonly fetches: readonly RowFetch[];
  /** Entries that had no room; absent = none. */
  readonly leftOut?: { readonly rows: number; readonly fetches: number };
}

/** Gathers what one request is told of how it was answered. Present only where the request asked for it. */
export class RequestExplanation {
  readonly #stagesMs: Record<string, number> = {};
  readonly #lookups: LookupExplanation[] = [];
  #epoch: number | undefined;

  ran({ queueMs, timings, report }: BatchResult): void {
    this.stage("queue", queueMs);
    this.stage("host", timings.hostMs);
    this.stage("lookup", timings.lookupMs);
    this.stage("device", timings.deviceMs);
    this.#epoch = report?.epoch ?? this.#epoch;
    this.#lookups.push(...(report?.lookups ?? []));
  }

  stage(name: string, durationMs: number): void {
    this.#stagesMs[name] = rounded((this.#stagesMs[name] ?? 0) + durationMs);
  }

  /** ASCII, at most 5 KiB: of many ids the first are named, of very many tables those of which most rows were needed. */
  text(by: ServableId): string {
    const rows = merged(this.#lookups.flatMap((lookup) => lookup.rows)).sort((a, b) => b.ids.length - a.ids.length);
    const fetches = this.#lookups
      .flatMap((lookup) => lookup.fetches)
      .map((fetch) => ({ ...fetch, startMs: rounded(fetch.startMs), durationMs: rounded(fetch.durationMs) }));
    const textOf = (idsMax: number, entriesMax: number) => {
      const leftOut = {
        rows: Math.max(0, rows.length - entriesMax),
        fetches: Math.max(0, fetches.length - entriesMax),
      };
      const document: ExplanationDocument = {
        model: by.name,
        version: by.version,
        ...(this.#epoch !== undefined && { epoch: this.#epoch }),
        stagesMs: this.#stagesMs,
        rows: rows.slice(0, entriesMax).map(({ ids, ...from }) => ({
          ...from,
          count: ids.length,
          ids: ids.slice(0, idsMax),
        })),
        fetches: fetches.slice(0, entriesMax),
        ...(leftOut.rows + leftOut.fetches > 0 && { leftOut }),
      };
      return ascii(JSON.stringify(document));
    };
    for (const idsMax of IDS_MAX) {
      const text = textOf(idsMax, Number.POSITIVE_INFINITY);
      if (text.length <= TEXT_BYTES_MAX) return text;
    }
    let entriesMax = Math.max(rows.length, fetches.length);
    for (;;) {
      entriesMax >>= 1;
      const text = textOf(0, entriesMax);
      if (text.length <= TEXT_BYTES_MAX || entriesMax === 0) return text;
    }
  }
}

/** Several lookups of a request may take rows of one table from one place. */
function merged(rows: readonly GivenRows[]): GivenRows[] {
  const groups = new Map<string, GivenRows>();
  for (const group of rows) {
    const key = JSON.stringify([group.table, group.level, group.shard, group.epoch]);
    const before = groups.get(key);
    groups.set(key, before ? { ...group, ids: [...new Set([...before.ids, ...group.ids])] } : group);
  }
  return [...groups.values()];
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** Headers are ASCII; names need not be. */
function ascii(json: string): string {
  return json.replaceAll(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
