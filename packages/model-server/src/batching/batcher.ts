import { CancelSource, type Clock, type Logger, ServingError } from "@shardserve/core";
import {
  type Model,
  type RowsReport,
  type RunResult,
  type RunTimings,
  type ServableId,
  totalReport,
} from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import { canJoin, isSameTensor, joinKey, joinRows, rowsOf, sliceRows } from "./batch-plan.js";
import { JoinProofs, type JoinState } from "./join-proofs.js";
import { type BatchRequest, type BatchResult, Member } from "./member.js";
import type { BatchingOptions } from "./options.js";
import { Pace } from "./pace.js";
import { fillRows, padInner } from "./pad-rows.js";

/** Part of the target latency that one joined run may take. */
const RUN_PART = 0.1;
/** How much longer than estimated an answer may take and still be in time. */
const ESTIMATE_MARGIN = 1.25;
/** Requests joined while a signature is still unproven. */
const UNPROVEN_MEMBERS_MAX = 4;
/** Two runs of the same row may differ by this part of the tensor's largest magnitude. */
const TOLERANCE = 1e-4;
/** Failures of the surroundings: every member would meet them again, so nothing is gained by running members alone. */
const SHARED_FAILURES = ["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED"];

/** One run of a model, for metrics. */
export interface RunRecord {
  readonly id: ServableId;
  readonly signature: string;
  /** Rows and requests that the run answered; 0 rows where the signature has no batch dimension. */
  readonly rows: number;
  readonly requests: number;
  readonly timings: RunTimings;
  readonly report: RowsReport | undefined;
}

export interface BatcherOptions {
  readonly batching: BatchingOptions;
  /** The options of one model, where they are not `batching`. */
  readonly batchingOf?: (model: Model) => BatchingOptions | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onRun: (record: RunRecord) => void;
  /**
   * Calls back once the event loop has taken in what has arrived by now (setImmediate): requests that came together are
   * joined even when a run is free. Default: at once, so nothing is joined with an idle server's first request.
   */
  readonly whenArrived?: (start: () => void) => void;
}

/** What waits for one version, and how many of its runs are under way. */
class VersionQueue {
  readonly options: BatchingOptions;
  readonly groups = new Map<string, Member[]>();
  readonly pace: Pace;
  runs = 0;
  rows = 0;
  wakeUp: (() => void) | null = null;
  /** A start at the end of this turn of the event loop is on its way. */
  isGathering = false;

  constructor(options: BatchingOptions) {
    this.options = options;
    this.pace = new Pace(options.maxBatchRows, options.targetLatencyMs * RUN_PART);
  }

  /** Time until what waits now has started, by the pace of recent runs; 0 when the next runs take it all. */
  get waitMs(): number {
    const { runsMax } = this.options;
    return this.rows <= this.pace.runRows ? 0 : (this.rows * this.pace.msPerRow) / runsMax;
  }
}

/**
 * Runs requests, several in one run where that cannot be told from running them alone.
 *
 * A version with a free run starts what arrived in one turn of the event loop at its end. While all its runs are busy,
 * requests queue, and what has queued under one key (signature, outputs, inner shapes) becomes the next run: batches grow
 * with the load and cost an idle server nothing. A run that fails is repeated in halves, so that one bad request fails alone.
 */
export class Batcher {
  readonly #optionsOf: (model: Model) => BatchingOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #onRun: (record: RunRecord) => void;
  readonly #whenArrived: ((start: () => void) => void) | undefined;
  readonly #queues = new WeakMap<Model, VersionQueue>();
  readonly #proofs = new JoinProofs();
  #sequence = 0;

  constructor(options: BatcherOptions) {
    this.#optionsOf = (model) => options.batchingOf?.(model) ?? options.batching;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#onRun = options.onRun;
    this.#whenArrived = options.whenArrived;
  }

  /**
   * @throws ServingError UNAVAILABLE when the queue is full, INVALID_ARGUMENT when the request has too many rows,
   *   whatever the model throws; the signal's reason
   */
  async run(request: BatchRequest): Promise<BatchResult> {
    request.signal.throwIfAborted();
    const { model } = request.handle;
    const queue = this.#queues.get(model) ?? new VersionQueue(this.#optionsOf(model));
    this.#queues.set(model, queue);
    const { options } = queue;
    const rows = rowsOf(request.inputs);
    if (options.isEnabled && rows > options.requestRowsMax) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        `Task size ${rows} is larger than maximum input batch size ${options.requestRowsMax}`,
      );
    }
    const isJoinable = options.isEnabled && rows > 0 && canJoin(request.signature, request.outputs);
    if (!isJoinable || !options.isLargeSplit || rows <= options.maxBatchRows) {
      return this.#runWhole(queue, request, rows, isJoinable);
    }
    const pieces = splitRequest(request, rows, options.maxBatchRows);
    const runs = pieces.map((piece) => this.#runWhole(queue, piece, rowsOf(piece.inputs), true));
    const settled = await Promise.allSettled(runs); // all end before the caller releases its handle
    const failed = settled.find((end) => end.status === "rejected");
    if (failed) throw failed.reason as Error;
    return joinResults(await Promise.all(runs), rows);
  }

  async #runWhole(queue: VersionQueue, request: BatchRequest, rows: number, isJoinable: boolean): Promise<BatchResult> {
    const { options } = queue;
    const mayWait = isJoinable && options.timeoutMs > 0;
    const mayGather = isJoinable && this.#whenArrived !== undefined;
    if (queue.runs < options.runsMax && queue.groups.size === 0 && !mayWait && !mayGather) {
      return this.#runNow(queue, request, isJoinable ? rows : 0);
    }
    const cost = Math.max(rows, 1);
    this.#admit(queue, cost, request.deadlineMs);
    const member = new Member(request, rows, this.#clock.nowMs());
    const key =
      isJoinable && !request.isExplained
        ? joinKey(request.signature.name, request.outputs, request.inputs, options.isPadded)
        : `#${this.#sequence++}`;
    const group = queue.groups.get(key);
    if (group) group.push(member);
    else queue.groups.set(key, [member]);
    queue.rows += cost;
    member.onSettled(() => this.#leave(queue, key, member));
    if (mayGather) this.#gather(queue);
    else if (mayWait) this.#start(queue);
    return member.result;
  }

  #gather(queue: VersionQueue): void {
    if (queue.isGathering || queue.runs >= queue.options.runsMax) return;
    queue.isGathering = true;
    this.#whenArrived!(() => {
      queue.isGathering = false;
      this.#start(queue);
    });
  }

  /** The way of a request on an idle server: no queue, no joining. */
  async #runNow(queue: VersionQueue, request: BatchRequest, rows: number): Promise<BatchResult> {
    queue.runs++;
    try {
      return { ...(await this.#runAlone(queue, request, rows)), queueMs: 0 };
    } finally {
      queue.runs--;
      this.#start(queue);
    }
  }

  /** Refuses at once what could only be refused later: that is what keeps an overloaded server useful. */
  #admit(queue: VersionQueue, cost: number, deadlineMs: number | undefined): void {
    const { queueRowsMax, maxBatchRows, targetLatencyMs } = queue.options;
    if (queue.rows === 0) return;
    if (queue.rows + cost <= queueRowsMax) {
      const { waitMs, pace } = queue;
      if (waitMs === 0 || targetLatencyMs === Number.POSITIVE_INFINITY) return;
      // Who waits to the edge of the deadline is answered behind it: then all work would be in vain.
      const answerMs = (waitMs + pace.msPerRun) * ESTIMATE_MARGIN;
      const leftMs = deadlineMs === undefined ? Number.POSITIVE_INFINITY : deadlineMs - this.#clock.nowMs();
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
        `${Math.ceil(queue.rows / maxBatchRows)} batches enqueued and max_enqueued_batches is ` +
        `${Math.ceil(queueRowsMax / maxBatchRows)}`,
    );
  }

  /** A member that settled while it waited: cancelled or past its deadline. */
  #leave(queue: VersionQueue, key: string, member: Member): void {
    const group = queue.groups.get(key);
    const at = group?.indexOf(member) ?? -1;
    if (at < 0) return;
    group!.splice(at, 1);
    if (group!.length === 0) queue.groups.delete(key);
    queue.rows -= Math.max(member.rows, 1);
  }

  /** Starts as many runs as are free, the longest waiting group first. */
  #start(queue: VersionQueue): void {
    while (queue.runs < queue.options.runsMax) {
      const members = this.#take(queue);
      if (!members) return;
      queue.runs++;
      // The run outlives a caller that gives up, so it pins the version by itself.
      const pin = members[0]!.request.handle.clone();
      void this.#runMembers(queue, members).finally(() => {
        pin.release();
        queue.runs--;
        this.#start(queue);
      });
    }
  }

  /** Takes the members of the next run out of the queue; undefined when none is due. */
  #take(queue: VersionQueue): Member[] | undefined {
    queue.wakeUp?.();
    queue.wakeUp = null;
    const nowMs = this.#clock.nowMs();
    let dueInMs = Number.POSITIVE_INFINITY;
    for (const [key, group] of queue.groups) {
      const waitMs = queue.options.timeoutMs - (nowMs - group[0]!.queuedAtMs);
      if (waitMs > 0 && rowsTotal(group) < queue.pace.runRows && !key.startsWith("#")) {
        dueInMs = Math.min(dueInMs, waitMs);
        continue;
      }
      const members = group.splice(0, this.#membersOfRun(queue, group));
      // A group that keeps members goes to the end of the line: keys take turns.
      queue.groups.delete(key);
      if (group.length > 0) queue.groups.set(key, group);
      for (const member of members) queue.rows -= Math.max(member.rows, 1);
      return members;
    }
    if (dueInMs < Number.POSITIVE_INFINITY) {
      queue.wakeUp = this.#clock.after(dueInMs, () => {
        queue.wakeUp = null;
        this.#start(queue);
      });
    }
    return undefined;
  }

  #membersOfRun(queue: VersionQueue, group: readonly Member[]): number {
    const state = this.#stateOf(queue.options, group[0]!.request);
    if (state === "alone") return 1;
    const membersMax = state === "unproven" ? UNPROVEN_MEMBERS_MAX : group.length;
    const { runRows } = queue.pace;
    let rows = group[0]!.rows;
    let count = 1;
    while (count < Math.min(group.length, membersMax)) {
      rows += group[count]!.rows;
      if (rows > runRows) break;
      count++;
    }
    return count;
  }

  /** Who asks for padding has said that joined answers may differ. */
  #stateOf(options: BatchingOptions, request: BatchRequest): JoinState {
    return options.isPadded ? "joins" : this.#proofs.state(request.handle.model, planOf(request));
  }

  /** Settles every member; never rejects. */
  async #runMembers(queue: VersionQueue, all: readonly Member[]): Promise<void> {
    const members = all.filter((member) => !this.#dropExpired(member));
    if (members.length === 0) return;
    const startMs = this.#clock.nowMs();
    if (members.length === 1) return this.#runMember(queue, members[0]!, startMs);
    try {
      await this.#runJoined(queue, members, startMs);
    } catch (reason) {
      const error = ServingError.from(reason);
      if (SHARED_FAILURES.includes(error.status)) {
        for (const member of members) member.fail(error);
        return;
      }
      const half = members.length >> 1;
      await this.#runMembers(queue, members.slice(0, half));
      await this.#runMembers(queue, members.slice(half));
    }
  }

  #dropExpired(member: Member): boolean {
    const { deadlineMs } = member.request;
    if (deadlineMs !== undefined && deadlineMs <= this.#clock.nowMs()) {
      member.fail(new ServingError("DEADLINE_EXCEEDED", "Run() timeout exceeded while waiting in batching queue"));
    }
    return member.isSettled;
  }

  async #runMember(queue: VersionQueue, member: Member, startMs: number): Promise<void> {
    try {
      const result = await this.#runAlone(queue, member.request, member.rows);
      member.succeed({ ...result, queueMs: startMs - member.queuedAtMs });
    } catch (error) {
      member.fail(error as Error);
    }
  }

  async #runAlone(queue: VersionQueue, request: BatchRequest, rows: number): Promise<RunResult> {
    const { handle, signature, inputs, outputs, signal, deadlineMs, isExplained } = request;
    const size = allowedSize(queue.options.allowedRows, rows);
    const startMs = this.#clock.nowMs();
    const isFilled = size > rows && rows > 0 && canJoin(signature, outputs);
    const result = await handle.model.run(signature.name, isFilled ? filled(inputs, 0, size) : inputs, {
      signal,
      ...(outputs === undefined ? {} : { outputs }),
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
      ...(isExplained && { isExplained }),
    });
    queue.pace.runDone(Math.max(rows, 1), this.#clock.nowMs() - startMs);
    this.#record(handle.id, signature.name, rows, 1, result);
    if (!isFilled) return result;
    for (const { shape } of result.outputs.values()) if (shape[0] !== size) throw wrongOutputRows();
    return withoutFill(result, size, rows);
  }

  async #runJoined(queue: VersionQueue, members: readonly Member[], startMs: number): Promise<void> {
    const { request } = members[0]!;
    const { model, id } = request.handle;
    const plan = planOf(request);
    const runStartMs = this.#clock.nowMs();
    const joined = await this.#runJoint(queue.options, members);
    const rows = rowsTotal(members);
    queue.pace.runDone(rows, this.#clock.nowMs() - runStartMs);
    this.#record(id, request.signature.name, rows, members.length, joined);
    for (const [alias, { shape }] of joined.outputs) {
      if (shape[0] === rows) continue;
      this.#stopJoining(model, id, plan, `output ${alias} of ${rows} joined rows has the shape [${shape.join(",")}]`);
      for (const member of members) await this.#runMember(queue, member, startMs);
      return;
    }
    const parts = split(joined, members);
    if (this.#stateOf(queue.options, request) === "unproven") return this.#prove(queue, members, parts, plan, startMs);
    members.forEach((member, i) =>
      member.succeed({ ...joined, outputs: parts[i]!, queueMs: startMs - member.queuedAtMs }),
    );
  }

  /** One run over the rows of all members; stops when the last member gave up. */
  async #runJoint(options: BatchingOptions, members: readonly Member[]): Promise<RunResult> {
    const { handle, signature, inputs, outputs } = members[0]!.request;
    const rows = rowsTotal(members);
    const size = allowedSize(options.allowedRows, rows);
    let rowsOfAll = new Map<string, Tensor>();
    for (const alias of inputs.keys()) {
      const parts = members.map((member) => member.request.inputs.get(alias)!);
      rowsOfAll.set(alias, joinRows(options.isPadded ? padInner(parts) : parts));
    }
    if (size > rows) rowsOfAll = filled(rowsOfAll, rows - members.at(-1)!.rows, size);
    const cancel = new CancelSource();
    let isOver = false;
    for (const member of members) {
      member.onSettled(() => {
        if (isOver || !members.every((other) => other.isSettled)) return;
        cancel.abort(new ServingError("CANCELLED", "nobody waits"));
      });
    }
    const deadlineMs = Math.max(...members.map((member) => member.request.deadlineMs ?? Number.POSITIVE_INFINITY));
    const result = await handle.model.run(signature.name, rowsOfAll, {
      signal: cancel,
      ...(outputs === undefined ? {} : { outputs }),
      ...(Number.isFinite(deadlineMs) ? { deadlineMs } : {}),
    });
    isOver = true; // members settle with their answers: no error is made for each run that went well
    return size > rows ? withoutFill(result, size, rows) : result;
  }

  /** Answers each member with its own run, and notes whether the joined run had said the same. */
  async #prove(
    queue: VersionQueue,
    members: readonly Member[],
    parts: readonly ReadonlyMap<string, Tensor>[],
    plan: string,
    startMs: number,
  ): Promise<void> {
    const { model, id } = members[0]!.request.handle;
    let compared = 0;
    let different: string | undefined;
    for (const [i, member] of members.entries()) {
      await this.#runMember(queue, member, startMs);
      const alone = await member.result.catch(() => undefined);
      if (!alone) continue;
      compared++;
      for (const [alias, value] of alone.outputs) {
        if (!isSameTensor(value, parts[i]!.get(alias)!, TOLERANCE)) different = alias;
      }
    }
    if (different !== undefined) {
      this.#stopJoining(model, id, plan, `output ${different} of joined rows differs from that of single requests`);
    } else if (compared > 1) this.#proofs.agreed(model, plan);
  }

  #stopJoining(model: Model, id: ServableId, plan: string, reason: string): void {
    this.#proofs.disagreed(model, plan);
    this.#logger.warn({ model: id.name, version: id.version, plan }, `requests are not joined any more: ${reason}`);
  }

  #record(id: ServableId, signature: string, rows: number, requests: number, result: RunResult): void {
    this.#onRun({ id, signature, rows, requests, timings: result.timings, report: result.report });
  }
}

function planOf({ signature, outputs }: BatchRequest): string {
  return JSON.stringify([signature.name, outputs ?? null]);
}

function rowsTotal(members: readonly Member[]): number {
  let rows = 0;
  for (const member of members) rows += member.rows;
  return rows;
}

/** The smallest allowed number of rows that holds `rows`; `rows` where every number is, or none is large enough. */
function allowedSize(allowed: readonly number[], rows: number): number {
  return allowed.find((size) => size >= rows) ?? rows;
}

/** Inputs with copies of row `row` up to `size` rows. */
function filled(inputs: ReadonlyMap<string, Tensor>, row: number, size: number): Map<string, Tensor> {
  return new Map([...inputs].map(([alias, value]) => [alias, fillRows(value, row, size)]));
}

/** Drops the rows that were only fill; an output of another length stays as it is. */
function withoutFill(result: RunResult, size: number, rows: number): RunResult {
  const outputs = new Map<string, Tensor>();
  for (const [alias, value] of result.outputs) {
    outputs.set(alias, value.shape[0] === size ? sliceRows(value, 0, rows) : value);
  }
  return { ...result, outputs };
}

/** A request in pieces of at most `rowsMax` rows. */
function splitRequest(request: BatchRequest, rows: number, rowsMax: number): BatchRequest[] {
  return Array.from({ length: Math.ceil(rows / rowsMax) }, (_, i) => {
    const [start, end] = [i * rowsMax, Math.min((i + 1) * rowsMax, rows)];
    const inputs = new Map([...request.inputs].map(([alias, value]) => [alias, sliceRows(value, start, end)]));
    return { ...request, inputs };
  });
}

/** The answer to a request that ran in pieces. */
function joinResults(parts: readonly BatchResult[], rows: number): BatchResult {
  const outputs = new Map<string, Tensor>();
  for (const alias of parts[0]!.outputs.keys()) {
    const pieces = parts.map((part) => part.outputs.get(alias)!);
    const [inner] = pieces.map(innerShape);
    if (pieces.some((piece) => piece.shape.length === 0 || innerShape(piece) !== inner)) throw wrongOutputRows();
    const joined = joinRows(pieces);
    if (joined.shape[0] !== rows) throw wrongOutputRows();
    outputs.set(alias, joined);
  }
  const sum = (of: (part: BatchResult) => number) => parts.reduce((total, part) => total + of(part), 0);
  const report = totalReport(parts.map((part) => part.report));
  return {
    outputs,
    ...(report && { report }),
    timings: {
      hostMs: sum((part) => part.timings.hostMs),
      lookupMs: sum((part) => part.timings.lookupMs),
      deviceMs: sum((part) => part.timings.deviceMs),
    },
    queueMs: Math.max(...parts.map((part) => part.queueMs)),
  };
}

function innerShape({ shape }: Tensor): string {
  return shape.slice(1).join(",");
}

function wrongOutputRows(): ServingError {
  return new ServingError(
    "FAILED_PRECONDITION",
    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors",
  );
}

/** The outputs of a joined run, cut to each member's rows. */
function split(joined: RunResult, members: readonly Member[]): ReadonlyMap<string, Tensor>[] {
  let start = 0;
  return members.map((member) => {
    const end = start + member.rows;
    const outputs = new Map<string, Tensor>();
    for (const [alias, value] of joined.outputs) outputs.set(alias, sliceRows(value, start, end));
    start = end;
    return outputs;
  });
}
