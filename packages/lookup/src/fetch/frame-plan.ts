import type { PartitionMap } from "@shardserve/placement";
import { createLookupRequest, type LookupHeader, lookupRequestBytes, TRACE_BYTES } from "@shardserve/transport";
import type { ReplicaChoice } from "../replicas/replica-choice.js";
import type { ShardLink } from "../replicas/shard-link.js";

/** A partition map and the links to its shards, by the map's index. Immutable: swapped as a whole. */
export interface Routes {
  readonly map: PartitionMap;
  readonly links: readonly ShardLink[];
}

/** Rows to fetch: one table after the other, each a range of the id columns. */
export interface Misses {
  readonly lo: Int32Array;
  readonly hi: Int32Array;
  /** Where each row goes, a slot of its table's target. */
  readonly slots: Int32Array;
  readonly sections: readonly MissSection[];
}

export interface MissSection {
  /** Table index of the version. */
  readonly table: number;
  /** Bytes of one row on the wire. */
  readonly rowBytes: number;
  readonly start: number;
  readonly end: number;
}

/** What one LOOKUP frame asks of one shard. Columns are the sections that have rows in it, in order. */
export interface FramePlan {
  readonly link: ShardLink;
  readonly payload: Uint8Array;
  readonly rowCount: number;
  /** Bytes of those rows on the wire. */
  readonly rowBytes: number;
  /** Index into `Misses.sections` per column. */
  readonly sections: readonly number[];
  readonly counts: readonly number[];
  /** Position in the miss columns of each row, columns behind one another; ascending. */
  readonly rows: Int32Array;
  /** `Misses.slots` of each of those rows. */
  readonly slots: Int32Array;
}

type Allocate = (bytes: number) => Uint8Array;

export interface Plan {
  readonly frames: readonly FramePlan[];
  /** Positions in the miss columns of rows that no usable replica holds. */
  readonly unroutable: readonly number[];
}

/** Partition of an id: id mod P, as the exporter placed it. */
export function partitionOfLanes(lo: number, hi: number, partitionCount: number): number {
  return hi === 0 ? (lo >>> 0) % partitionCount : (hi * 2 ** 32 + (lo >>> 0)) % partitionCount;
}

/*
 * Reused from plan to plan, which are made in one go: for a small lookup, memory of its own would cost more than its plan.
 */
/** Per partition, the link that its rows go to. */
let chosen = new Int32Array(64);
/** Per pending row, the ordinal of its frame; -1 = none. */
let draftOf = new Int32Array(64);

/**
 * Distributes rows over frames: a partition's rows go to one of its usable replicas, as `replica-choice.ts` picks it; all
 * rows for a shard go in one frame, for all tables, unless that exceeds its limits.
 *
 * @param pending  positions in the miss columns, ascending
 * @param choice   made for this plan alone
 * @param header   what every frame says; the channel is the link's own, and whether its shard takes the trace
 * @param allocate memory for the payloads, 8-aligned; default Node's own
 */
export function planFrames(
  routes: Routes,
  misses: Misses,
  pending: Int32Array,
  choice: ReplicaChoice,
  header: Omit<LookupHeader, "channel">,
  allocate?: Allocate,
): Plan {
  const { map, links } = routes;
  const { partitionCount } = map;
  const sectionCount = misses.sections.length;
  if (chosen.length < partitionCount) chosen = new Int32Array(partitionCount);
  chosen.fill(UNDECIDED, 0, partitionCount);
  const open: (Draft | undefined)[] = links.map(() => undefined);
  const drafts: Draft[] = [];
  if (draftOf.length < pending.length) draftOf = new Int32Array(2 * pending.length);
  const unroutable: number[] = [];

  let section = 0;
  for (let i = 0; i < pending.length; i++) {
    const row = pending[i]!;
    while (row >= misses.sections[section]!.end) section++;
    const partition = partitionOfLanes(misses.lo[row]!, misses.hi[row]!, partitionCount);
    let link = chosen[partition]!;
    if (link === UNDECIDED) {
      link = choice.choose(partition);
      chosen[partition] = link;
    }
    if (link < 0) {
      unroutable.push(row);
      draftOf[i] = -1;
      continue;
    }
    choice.assign(link);
    const { rowBytes } = misses.sections[section]!;
    let draft = open[link];
    if (draft === undefined || !hasRoom(draft, rowBytes, sectionCount)) {
      draft = new Draft(drafts.length, links[link]!, sectionCount);
      open[link] = draft;
      drafts.push(draft);
    }
    draft.add(section, rowBytes);
    draftOf[i] = draft.ordinal;
  }
  return { frames: fillFrames(drafts, misses, pending, header, allocate), unroutable };
}

const UNDECIDED = -2;
/** Head, table entries and padding of a ROWS payload stay below this for any lookup that its request limit admits. */
const REPLY_HEAD_BYTES_MAX = 256 * 1024;

/** A frame while rows are counted into it. */
class Draft {
  readonly ordinal: number;
  readonly link: ShardLink;
  readonly counts: number[];
  readonly replyBytesMax: number;
  readonly requestBytesMax: number;
  rowCount = 0;
  rowBytes = 0;

  constructor(ordinal: number, link: ShardLink, sectionCount: number) {
    this.ordinal = ordinal;
    this.link = link;
    this.counts = Array.from({ length: sectionCount }, () => 0);
    this.replyBytesMax = link.replyBytesMax - REPLY_HEAD_BYTES_MAX;
    this.requestBytesMax = link.requestBytesMax - TRACE_BYTES;
  }

  add(section: number, rowBytes: number): void {
    this.counts[section] = this.counts[section]! + 1;
    this.rowCount++;
    this.rowBytes += rowBytes;
  }
}

/** An empty frame always has room: a row over the limit is the shard's to refuse. */
function hasRoom(draft: Draft, rowBytes: number, sectionCount: number): boolean {
  return (
    draft.rowBytes + rowBytes <= draft.replyBytesMax &&
    lookupRequestBytes(sectionCount, draft.rowCount + 1) <= draft.requestBytesMax
  );
}

function fillFrames(
  drafts: readonly Draft[],
  misses: Misses,
  pending: Int32Array,
  header: Omit<LookupHeader, "channel">,
  allocate: Allocate | undefined,
): FramePlan[] {
  const cursors = drafts.map(() => 0);
  const idsAt = drafts.map(() => 0);
  const words: Int32Array[] = [];
  const frames = drafts.map((draft): FramePlan => {
    const sections: number[] = [];
    const counts: number[] = [];
    const tables: number[] = [];
    for (let s = 0; s < draft.counts.length; s++) {
      if (draft.counts[s] === 0) continue;
      sections.push(s);
      counts.push(draft.counts[s]!);
      tables.push(misses.sections[s]!.table);
    }
    const { link, ordinal, rowCount, rowBytes } = draft;
    const trace = link.takesTraces ? header.trace : undefined;
    const request = createLookupRequest({ ...header, channel: link.channel, trace }, tables, counts, allocate);
    words.push(request.words);
    idsAt[ordinal] = request.idsAt;
    const columns = new Int32Array(2 * rowCount);
    const rows = columns.subarray(0, rowCount);
    const slots = columns.subarray(rowCount);
    return { link, payload: request.payload, rowCount, rowBytes, sections, counts, rows, slots };
  });
  // pending is in table order, so the rows of each frame come out column by column
  for (let i = 0; i < pending.length; i++) {
    const ordinal = draftOf[i]!;
    if (ordinal < 0) continue;
    const row = pending[i]!;
    const at = cursors[ordinal]!;
    const target = words[ordinal]!;
    const idAt = idsAt[ordinal]! + 2 * at;
    cursors[ordinal] = at + 1;
    target[idAt] = misses.lo[row]!;
    target[idAt + 1] = misses.hi[row]!;
    const frame = frames[ordinal]!;
    frame.rows[at] = row;
    frame.slots[at] = misses.slots[row]!;
  }
  return frames;
}
