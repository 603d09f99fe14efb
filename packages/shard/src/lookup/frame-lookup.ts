import { type Clock, ServingError } from "@shardserve/core";
import { type Exchange, FRAME, type LookupHandler, type LookupRequest, readLookupRequest } from "@shardserve/transport";
import type { ShardMetrics } from "../metrics.js";
import type { ServedVersion, ServedVersions } from "../versions/served-version.js";
import { JointLookup, type JointLookupOptions } from "./joint-lookup.js";
import type { LookupTracer } from "./lookup-tracer.js";
import { type GatheredRows, lookupCost, type RowLookup } from "./row-lookup.js";
import { Turns } from "./turns.js";

/** Work ({@link lookupCost}) after which lookups wait for the next turn of the event loop: about 3 ms. */
const TURN_COST_MAX = 4 * 2 ** 20;

/** For {@link FrameLookup}. */
export interface FrameLookupOptions extends Omit<JointLookupOptions, "refuse"> {
  readonly versions: ServedVersions;
  readonly lookup: RowLookup;
  /** Tells of traced lookups; absent = nobody asks. */
  readonly tracer?: LookupTracer | undefined;
}

/**
 * Answers LOOKUP frames: small ones that arrived together jointly, others each on its own. A request that expired, or
 * that nobody waits for any more, is dropped, not run.
 */
export class FrameLookup {
  readonly #versions: ServedVersions;
  readonly #lookup: RowLookup;
  readonly #tracer: LookupTracer | undefined;
  readonly #metrics: ShardMetrics;
  readonly #clock: Clock;
  readonly #joint: JointLookup;
  readonly #turns: Turns;

  constructor(options: FrameLookupOptions) {
    this.#versions = options.versions;
    this.#lookup = options.lookup;
    this.#tracer = options.tracer;
    this.#metrics = options.metrics;
    this.#clock = options.clock;
    this.#joint = new JointLookup({ ...options, refuse: (exchange, error) => this.#refuse(exchange, error) });
    this.#turns = new Turns(TURN_COST_MAX, () => this.#joint.flush());
  }

  /** For a FramedServer: a lookup came. */
  readonly handle: LookupHandler = (exchange) => {
    const arrivedMs = this.#clock.nowMs();
    if (this.#turns.isSpent) this.#turns.postpone(() => this.#begin(exchange, arrivedMs));
    else this.#begin(exchange, arrivedMs);
  };

  /** For a FramedServer: all that arrived together was handled. */
  readonly flush = (): void => this.#joint.flush();

  #begin(exchange: Exchange, arrivedMs: number): void {
    if (exchange.isCancelled) return;
    try {
      const request = readLookupRequest(exchange.payload);
      const served = this.#servedOf(request);
      this.#tracer?.follow(exchange, request, served, arrivedMs);
      if (!served.epochs.has(request.epoch)) throw served.epochs.refusal(request.epoch);
      const jointBytes = this.#joint.add(exchange, served, request);
      this.#turns.spend(lookupCost(jointBytes, request.idCount));
      if (jointBytes === 0) this.#run(exchange, served, request, arrivedMs);
    } catch (error) {
      this.#refuse(exchange, error);
    }
  }

  #servedOf({ channel }: LookupRequest): ServedVersion {
    const served = this.#versions.byChannel(channel);
    if (served) return served;
    throw new ServingError("VERSION_NOT_READY", `channel ${channel} is not open here; open the version again`);
  }

  /** One that is too large to be joined with others. */
  #run(exchange: Exchange, served: ServedVersion, request: LookupRequest, arrivedMs: number): void {
    const { generation, epoch, columns, ids, remainingMs } = request;
    const deadlineMs = remainingMs === 0 ? Number.POSITIVE_INFINITY : arrivedMs + remainingMs;
    const rows = this.#lookup.run({ served, epoch, generation, columns, ids, deadlineMs });
    exchange.releasePayload();
    if (!(rows instanceof Promise)) return this.#answer(exchange, rows);
    rows.then(
      (gathered) => {
        if (this.#turns.isSpent) this.#turns.postpone(() => this.#answer(exchange, gathered));
        else this.#answer(exchange, gathered);
      },
      (error: unknown) => this.#refuse(exchange, error),
    );
  }

  #answer(exchange: Exchange, rows: GatheredRows): void {
    this.#turns.spend(rows.payload.length);
    this.#metrics.requests.inc({ protocol: "frame", code: "OK" });
    exchange.reply(FRAME.ROWS, [rows.payload], rows.release);
  }

  #refuse(exchange: Exchange, error: unknown): void {
    const { code } = ServingError.from(error);
    this.#metrics.refused.inc({ code });
    this.#metrics.requests.inc({ protocol: "frame", code });
    exchange.fail(error);
  }
}
