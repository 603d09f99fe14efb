import { CancelSource, type Clock, type Logger, ServingError } from "@shardserve/core";
import { type Model, type RowsReport, type RunResult, type RunTimings, type ServableId } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import { haveSameRows, isSameTensor, type JoinPlan, joinRows, planOf, rowsOf } from "./batch-plan.js";
import {
  allowedSize,
  filled,
  joinResults,
  splitRequest,
  splitResult,
  withoutFill,
  wrongOutputRows,
} from "./cut-rows.js";
import { JoinProofs, type JoinState } from "./join-proofs.js";
import { type BatchRequest, type BatchResult, Member } from "./member.js";
import type { BatchingOptions } from "./options.js";
import { padInner } from "./pad-rows.js";
import { VersionQueue } from "./version-queue.js";

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
  /** Runs under way or about to start, of all versions. */
  #active = 0;

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
  run(request: BatchRequest): Promise<BatchResult> {
    try {
      return this.#enter(request);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  #enter(request: BatchRequest): Promise<BatchResult> {
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
    const plan = options.isEnabled && rows > 0 ? planOf(request.signature, request.outputs) : undefined;
    const joinPlan = plan?.canJoin ? plan : undefined;
    if (!joinPlan || !options.isLargeSplit || rows <= options.maxBatchRows) {
      return this.#runWhole(queue, request, rows, joinPlan);
    }
    return this.#runSplit(queue, request, rows, joinPlan);
  }

  async #runSplit(queue: VersionQueue, request: BatchRequest, rows: number, plan: JoinPlan): Promise<BatchResult> {
    const pieces = splitRequest(request, rows, queue.options.maxBatchRows);
    const runs = pieces.map(async (piece) => this.#runWhole(queue, piece, rowsOf(piece.inputs), plan));
    const settled = await Promise.allSettled(runs); // all end before the caller releases its handle
    const failed = settled.find((end) => end.status === "rejected");
    if (failed) throw failed.reason as Error;
    return joinResults(await Promise.all(runs), rows);
  }

  /** @param plan  absent = the request is not joined */
  #runWhole(
    queue: VersionQueue,
    request: BatchRequest,
    rows: number,
    plan: JoinPlan | undefined,
  ): Promise<BatchResult> {
    const { options } = queue;
    const mayWait = plan !== undefined && options.timeoutMs > 0;
    const mayGather = plan !== undefined && this.#whenArrived !== undefined;
    if (queue.runs < options.runsMax && queue.isEmpty && !mayWait && !mayGather) {
      return this.#runNow(queue, request, plan ? rows : 0);
    }
    queue.admit(Math.max(rows, 1), request.deadlineMs, this.#clock);
    const member = new Member(request, rows, this.#clock.nowMs());
    queue.add(member, request.isExplained ? undefined : plan);
    if (mayGather) this.#gather(queue);
    else if (mayWait) this.#start(queue);
    return member.result;
  }

  #gather(queue: VersionQueue): void {
    if (queue.isGathering || queue.runs >= queue.options.runsMax) return;
    queue.isGathering = true;
    this.#active++;
    this.#whenArrived!(() => {
      queue.isGathering = false;
      this.#active--;
      this.#start(queue);
    });
  }

  /** The way of a request on an idle server: no queue, no joining. */
  async #runNow(queue: VersionQueue, request: BatchRequest, rows: number): Promise<BatchResult> {
    queue.runs++;
    this.#active++;
    try {
      return { ...(await this.#runAlone(queue, request, rows)), queueMs: 0 };
    } finally {
      queue.runs--;
      this.#active--;
      this.#start(queue);
    }
  }

  /** Starts as many runs as are free, the longest waiting group first. */
  #start(queue: VersionQueue): void {
    while (queue.runs < queue.options.runsMax) {
      const members = this.#take(queue);
      if (!members) return;
      queue.runs++;
      this.#active++;
      // The run outlives a caller that gives up, so it pins the version and its inputs by itself.
      const pin = members[0]!.request.handle.clone();
      for (const { request } of members) request.memory?.pin();
      void this.#runMembers(queue, members).finally(() => {
        pin.release();
        for (const { request } of members) request.memory?.unpin();
        queue.runs--;
        this.#active--;
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
    for (const group of queue.groups) {
      const { members, isSingle } = group;
      const waitMs = queue.options.timeoutMs - (nowMs - members[0]!.queuedAtMs);
      if (waitMs <= 0 || isSingle || rowsTotal(members) >= queue.pace.runRows) {
        return queue.take(group, this.#membersOfRun(queue, members));
      }
      dueInMs = Math.min(dueInMs, waitMs);
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
    const { runRows } = queue.pace;
    let rows = group[0]!.rows;
    let count = 1;
    while (count < group.length) {
      rows += group[count]!.rows;
      if (rows > runRows) break;
      count++;
    }
    const state = this.#stateOf(queue.options, group.slice(0, count));
    if (state === "joins") return count;
    return state === "alone" ? 1 : Math.min(count, UNPROVEN_MEMBERS_MAX);
  }

  /** Who asks for padding has said that joined answers may differ. */
  #stateOf(options: BatchingOptions, members: readonly Member[]): JoinState {
    if (options.isPadded) return "joins";
    const { handle, signature, inputs, outputs } = members[0]!.request;
    const isDifferent = (alias: string) => differs(members, alias);
    return this.#proofs.state(handle.model, planOf(signature, outputs).key, inputs.keys(), isDifferent);
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

  /** @param onResult  called before the member is answered */
  async #runMember(
    queue: VersionQueue,
    member: Member,
    startMs: number,
    onResult?: (result: RunResult) => void,
  ): Promise<void> {
    try {
      const result = await this.#runAlone(queue, member.request, member.rows, this.#isAlone(queue));
      onResult?.(result);
      member.succeed({ ...result, queueMs: startMs - member.queuedAtMs });
    } catch (error) {
      member.fail(error as Error);
    }
  }

  /** Whether a run of the queue has the process to itself, as far as it is known what has arrived. */
  #isAlone(queue: VersionQueue): () => boolean {
    return () => this.#active === 1 && queue.isEmpty;
  }

  async #runAlone(
    queue: VersionQueue,
    request: BatchRequest,
    rows: number,
    isAlone?: () => boolean,
  ): Promise<RunResult> {
    const { handle, signature, inputs, outputs, signal, deadlineMs, isExplained, traceParent } = request;
    const size = allowedSize(queue.options.allowedRows, rows);
    const startMs = this.#clock.nowMs();
    const isFilled = size > rows && rows > 0 && planOf(signature, outputs).canJoin;
    const result = await handle.model.run(signature.name, isFilled ? filled(inputs, 0, size) : inputs, {
      signal,
      ...(outputs === undefined ? {} : { outputs }),
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
      ...(isExplained && { isExplained }),
      ...(traceParent && { traceParent }),
      ...(isAlone && { isAlone }),
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
    const plan = planOf(request.signature, request.outputs).key;
    const runStartMs = this.#clock.nowMs();
    const joined = await this.#runJoint(queue, members);
    const rows = rowsTotal(members);
    queue.pace.runDone(rows, this.#clock.nowMs() - runStartMs);
    this.#record(id, request.signature.name, rows, members.length, joined);
    for (const [alias, { shape }] of joined.outputs) {
      if (shape[0] === rows) continue;
      this.#stopJoining(model, id, plan, `output ${alias} of ${rows} joined rows has the shape [${shape.join(",")}]`);
      for (const member of members) await this.#runMember(queue, member, startMs);
      return;
    }
    const parts = splitResult(joined, members);
    if (this.#stateOf(queue.options, members) !== "joins") return this.#prove(queue, members, parts, plan, startMs);
    members.forEach((member, i) =>
      member.succeed({ ...joined, outputs: parts[i]!, queueMs: startMs - member.queuedAtMs }),
    );
  }

  /** One run over the rows of all members; stops when the last member gave up. */
  async #runJoint(queue: VersionQueue, members: readonly Member[]): Promise<RunResult> {
    const { options } = queue;
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
    const traceParent = members.find((member) => member.request.traceParent)?.request.traceParent;
    const result = await handle.model.run(signature.name, rowsOfAll, {
      signal: cancel,
      ...(outputs === undefined ? {} : { outputs }),
      ...(Number.isFinite(deadlineMs) ? { deadlineMs } : {}),
      ...(traceParent && { traceParent }),
      isAlone: this.#isAlone(queue),
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
    const compared: Member[] = [];
    let isSame = true;
    const compare = (member: Member, alone: RunResult, joined: ReadonlyMap<string, Tensor>) => {
      compared.push(member);
      for (const [alias, value] of alone.outputs) {
        if (!isSame || isSameTensor(value, joined.get(alias)!, TOLERANCE)) continue;
        isSame = false;
        this.#stopJoining(model, id, plan, `output ${alias} of joined rows differs from that of single requests`);
      }
    };
    for (const [i, member] of members.entries()) {
      await this.#runMember(queue, member, startMs, (alone) => compare(member, alone, parts[i]!));
    }
    if (!isSame || compared.length < 2) return;
    const inputs = [...members[0]!.request.inputs.keys()];
    const differing = inputs.filter((alias) => differs(compared, alias));
    this.#proofs.agreed(model, plan, differing);
  }

  #stopJoining(model: Model, id: ServableId, plan: string, reason: string): void {
    this.#proofs.disagreed(model, plan);
    this.#logger.warn({ model: id.name, version: id.version, plan }, `requests are not joined any more: ${reason}`);
  }

  #record(id: ServableId, signature: string, rows: number, requests: number, result: RunResult): void {
    this.#onRun({ id, signature, rows, requests, timings: result.timings, report: result.report });
  }
}

/** Whether the rows of an input are not the same in all members, as far as each has some. */
function differs(members: readonly Member[], alias: string): boolean {
  const first = members[0]!.request.inputs.get(alias)!;
  return members.some((member) => !haveSameRows(first, member.request.inputs.get(alias)!));
}

function rowsTotal(members: readonly Member[]): number {
  let rows = 0;
  for (const member of members) rows += member.rows;
  return rows;
}
