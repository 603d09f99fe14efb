import type { Clock } from "@shardserve/core";
import {
  type BufferPool,
  type Exchange,
  FRAME,
  JOIN_BYTES_MAX,
  type LookupRequest,
  PlainRows,
} from "@shardserve/transport";
import type { ByteBudget } from "./byte-budget.js";
import { Joint } from "./joint.js";
import type { ShardMetrics } from "../metrics.js";
import { type ServedVersion, servableName } from "../versions/served-version.js";

export interface JointLookupOptions {
  readonly budget: ByteBudget;
  readonly pool: BufferPool;
  readonly metrics: ShardMetrics;
  readonly clock: Clock;
  /** Answers a request that failed. */
  readonly refuse: (exchange: Exchange, error: unknown) => void;
}

/** Gathers under way on other threads; while there are as many, the event loop gathers itself. */
const GATHERS_MAX = 2;

/**
 * Answers small lookups that arrived together by one gather per row width: a gather costs 3 us before its first row, which
 * is what 60 rows cost, and a reader that is woken once for many replies answers with many requests. Their replies are
 * written side by side into the connection's buffer. Where they are many, another thread gathers their rows while the event
 * loop locates and writes those of others.
 *
 * Takes only what needs no telling apart: small requests of a version that is in memory, all of whose ids are held.
 */
export class JointLookup {
  readonly #options: JointLookupOptions;
  readonly #plain = new PlainRows();
  /** What is being filled. */
  #joint: Joint;
  readonly #idle: Joint[] = [];
  #gatherCount = 0;
  #rowBytes = new Int32Array(64);

  constructor(options: JointLookupOptions) {
    this.#options = options;
    this.#joint = new Joint(options.pool);
  }

  /**
   * Locates a request's rows, to be gathered by the next `flush`, which must come in this turn of the event loop.
   *
   * @returns bytes of its reply; 0, and nothing has happened, when the request has to go alone
   */
  add(exchange: Exchange, served: ServedVersion, request: LookupRequest): number {
    if (!served.set.isWarm) return 0;
    const other = this.#joint.waiting[0]?.exchange;
    if (served !== this.#joint.served || (other && !exchange.sharesConnection(other))) this.flush();
    this.#joint.turnTo(served);
    const { words, columnsAt, tableCount } = request;
    if (this.#rowBytes.length < tableCount) this.#rowBytes = new Int32Array(tableCount);
    if (!this.#joint.rowWidths(request, this.#rowBytes)) return 0;
    const bytes = this.#plain.plan(words, columnsAt, tableCount, this.#rowBytes);
    if (bytes > JOIN_BYTES_MAX) return 0;
    if (!this.#joint.hasRoom(request)) {
      this.flush();
      this.#joint.turnTo(served);
    }
    return this.#joint.add(exchange, request) ? bytes : 0;
  }

  /** Gathers everything that waits, and answers it then. */
  flush(): void {
    const joint = this.#joint;
    const { served, bytes } = joint;
    if (served === undefined || joint.waiting.length === 0) return;
    const { budget, metrics, clock } = this.#options;
    const startMs = clock.nowMs();
    try {
      budget.take(bytes, `${joint.waiting.length} lookups of ${servableName(served.model, served.version)}`);
    } catch (error) {
      return this.#fail(joint, error);
    }
    metrics.replyBytesInFlight.set(budget.usedBytes);
    const gathering = joint.gather(this.#gatherCount < GATHERS_MAX);
    const succeed = (path: "loop" | "pool") => {
      metrics.gatherSeconds.observe({ path }, (clock.nowMs() - startMs) / 1000);
      this.#succeed(joint, served, bytes);
    };
    if (gathering === undefined) return succeed("loop");
    this.#gatherCount++;
    this.#joint = this.#idle.pop() ?? new Joint(this.#options.pool);
    const fail = (error: unknown) => {
      this.#giveBack(bytes);
      this.#fail(joint, error);
    };
    void gathering
      .then(() => succeed("pool"), fail)
      .finally(() => {
        this.#gatherCount--;
        this.#idle.push(joint);
      });
  }

  #succeed(joint: Joint, { model }: ServedVersion, bytes: number): void {
    const { metrics } = this.#options;
    const { waiting } = joint;
    const connection = waiting[0]!.exchange;
    metrics.requests.inc({ protocol: "frame", code: "OK" }, waiting.length);
    metrics.rows.inc({ model }, joint.rowCount);
    metrics.bytes.inc({ model }, bytes);
    joint.end((exchange, request) => this.#answer(joint, exchange, request));
    connection.afterSent(() => this.#giveBack(bytes));
  }

  #fail(joint: Joint, error: unknown): void {
    joint.end((exchange) => this.#options.refuse(exchange, error));
  }

  #giveBack(bytes: number): void {
    const { budget, metrics } = this.#options;
    budget.give(bytes);
    metrics.replyBytesInFlight.set(budget.usedBytes);
  }

  #answer(joint: Joint, exchange: Exchange, request: LookupRequest): void {
    const { words, columnsAt, tableCount, generation, epoch } = request;
    const plain = this.#plain;
    const rowBytes = this.#rowBytes;
    joint.rowWidths(request, rowBytes);
    const reply = exchange.reserveReply(FRAME.ROWS, plain.plan(words, columnsAt, tableCount, rowBytes));
    if (reply) plain.writeHead(reply.view, reply.start, generation, epoch, words, columnsAt, tableCount, rowBytes);
    joint.takeRows(request, plain.offsets, reply);
  }
}
