import { type Clock, ServingError } from "@shardserve/core";
import { joinKey, type JoinPlan } from "./batch-plan.js";
import type { Member } from "./member.js";
import type { BatchingOptions } from "./options.js";
import { Pace } from "./pace.js";

/** Part of the target latency that one joined run may take. */
const RUN_PART = 0.1;
/** How much longer than estimated an answer may take and still be in time. */
const ESTIMATE_MARGIN = 1.25;

/** Members that may be joined, in order of arrival. */
export interface Group {
  readonly key: string;
  readonly members: Member[];
  /** Whether it is one request that runs alone. */
  readonly isSingle: boolean;
}

/** What waits for one version, and how many of its runs are under way. */
export class VersionQueue {
  readonly options: BatchingOptions;
  readonly pace: Pace;
  runs = 0;
  /** Cancels the start that is due when the first member has waited long enough for company. */
  wakeUp: (() => void) | null = null;
  /** A start at the end of this turn of the event loop is on its way. */
  isGathering = false;
  readonly #groups = new Map<string, Group>();
  #rows = 0;
  #singles = 0;

  constructor(options: BatchingOptions) {
    this.options = options;
    this.pace = new Pace(options.maxBatchRows, options.targetLatencyMs * RUN_PART);
  }

  get isEmpty(): boolean {
    return this.#groups.size === 0;
  }

  get groups(): Iterable<Group> {
    return this.#groups.values();
  }

  /** Time until what waits now has started, by the pace of recent runs; 0 when the next runs take it all. */
  get waitMs(): number {
    const { runsMax } = this.options;
    return this.#rows <= this.pace.runRows ? 0 : (this.#rows * this.pace.msPerRow) / runsMax;
  }

  /**
   * Refuses at once what could only be refused later: that is what keeps an overloaded server useful.
   *
   * @param rows  that the request would add
   * @throws ServingError UNAVAILABLE
   */
  admit(rows: number, deadlineMs: number | undefined, clock: Clock): void {
    const { queueRowsMax, maxBatchRows, targetLatencyMs } = this.options;
    if (this.#rows === 0) return;
    if (this.#rows + rows <= queueRowsMax) {
      const { waitMs, pace } = this;
      if (waitMs === 0 || targetLatencyMs === Number.POSITIVE_INFINITY) return;
      // Who waits to the edge of the deadline is answered behind it: then all work would be in vain.
      const answerMs = (waitMs + pace.msPerRun) * ESTIMATE_MARGIN;
      const leftMs = deadlineMs === undefined ? Number.POSITIVE_INFINITY : deadlineMs - clock.nowMs();
      if (waitMs <= targetLatencyMs && answerMs <= leftMs) return;
      const limit =
        waitMs > targetLatencyMs ? `${targetLatencyMs} are allowed` : `its deadline is in ${Math.ceil(leftMs)} ms`;
      throw new ServingError(
        "UNAVAILABLE",
        `overloaded: the request would wait about ${Math.ceil(waitMs)} ms for its run, ${limit}; try again later`,
      );
    }
    throw new ServingError(
      "UNAVAILABLE",
      "The batch scheduling queue to which this task was submitted is full; currently " +
        `${Math.ceil(this.#rows / maxBatchRows)} batches enqueued and max_enqueued_batches is ` +
        `${Math.ceil(queueRowsMax / maxBatchRows)}`,
    );
  }

  /** @param plan  absent = the member runs alone */
  add(member: Member, plan: JoinPlan | undefined): void {
    const key = plan ? joinKey(plan, member.request.inputs, this.options.isPadded) : `#${this.#singles++}`;
    const group = this.#groups.get(key);
    if (group) group.members.push(member);
    else this.#groups.set(key, { key, members: [member], isSingle: plan === undefined });
    this.#rows += costOf(member);
    member.onSettled(() => this.#leave(key, member));
  }

  /** Takes the first `count` members of a group. What is left of it goes to the end of the line: groups take turns. */
  take({ key, members, isSingle }: Group, count: number): Member[] {
    const taken = members.splice(0, count);
    this.#groups.delete(key);
    if (members.length > 0) this.#groups.set(key, { key, members, isSingle });
    for (const member of taken) {
      member.onSettled(null);
      this.#rows -= costOf(member);
    }
    return taken;
  }

  /** A member that settled while it waited: cancelled or past its deadline. */
  #leave(key: string, member: Member): void {
    const group = this.#groups.get(key);
    const at = group?.members.indexOf(member) ?? -1;
    if (at < 0) return;
    group!.members.splice(at, 1);
    if (group!.members.length === 0) this.#groups.delete(key);
    this.#rows -= costOf(member);
  }
}

/** What a member counts for in the queue. */
function costOf({ rows }: Member): number {
  return Math.max(rows, 1);
}
