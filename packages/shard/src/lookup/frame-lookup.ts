import { ServingError } from "@shardserve/core";
import { type Exchange, FRAME, type LookupHandler, readLookupRequest } from "@shardserve/transport";
import { JointLookup, type JointLookupOptions } from "./joint-lookup.js";
import type { LookupTracer } from "./lookup-tracer.js";
import { type GatheredRows, lookupCost, type RowLookup } from "./row-lookup.js";
import type { ServedVersions } from "../versions/served-version.js";
import { Turns } from "./turns.js";

/** Work ({@link lookupCost}) after which lookups wait for the next turn of the event loop: about 3 ms. */
const TURN_COST_MAX = 4 * 2 ** 20;

/** What a FramedServer needs to answer lookups. */
export interface FrameLookup {
  readonly lookup: LookupHandler;
  afterLookups(this: void): void;
}

/**
 * Answers LOOKUP frames: small ones that arrived together jointly, others each on its own. A request that expired, or
 * that nobody waits for any more, is dropped, not run.
 *
 * @param tracer  tells of traced lookups; absent = nobody asks
 */
export function frameLookup(
  versions: ServedVersions,
  lookup: RowLookup,
  options: Omit<JointLookupOptions, "refuse">,
  tracer?: LookupTracer,
): FrameLookup {
  const { metrics, clock } = options;
  const refuse = (exchange: Exchange, error: unknown) => {
    const { code } = ServingError.from(error);
    metrics.refused.inc({ code });
    metrics.requests.inc({ protocol: "frame", code });
    exchange.fail(error);
  };
  const joint = new JointLookup({ ...options, refuse });
  const turns = new Turns(TURN_COST_MAX, () => joint.flush());
  const answer = (exchange: Exchange, rows: GatheredRows) => {
    turns.spend(rows.payload.length);
    metrics.requests.inc({ protocol: "frame", code: "OK" });
    exchange.reply(FRAME.ROWS, [rows.payload], rows.release);
  };
  const handle = (exchange: Exchange, arrivedMs: number) => {
    if (exchange.isCancelled) return;
    try {
      const request = readLookupRequest(exchange.payload);
      const served = versions.byChannel(request.channel);
      if (!served) {
        const text = `channel ${request.channel} is not open here; open the version again`;
        throw new ServingError("VERSION_NOT_READY", text);
      }
      tracer?.follow(exchange, request, served, arrivedMs);
      if (!served.epochs.has(request.epoch)) throw served.epochs.refusal(request.epoch);
      const jointBytes = joint.add(exchange, served, request);
      turns.spend(lookupCost(jointBytes, request.idCount));
      if (jointBytes > 0) return;
      const { generation, epoch, columns, ids, remainingMs } = request;
      const deadlineMs = remainingMs === 0 ? Number.POSITIVE_INFINITY : arrivedMs + remainingMs;
      const rows = lookup.run({ served, epoch, generation, columns, ids, deadlineMs });
      exchange.releasePayload();
      if (!(rows instanceof Promise)) return answer(exchange, rows);
      rows.then(
        (gathered) => {
          if (turns.isSpent) turns.postpone(() => answer(exchange, gathered));
          else answer(exchange, gathered);
        },
        (error: unknown) => refuse(exchange, error),
      );
    } catch (error) {
      refuse(exchange, error);
    }
  };
  const handleInTurn: LookupHandler = (exchange) => {
    const arrivedMs = clock.nowMs();
    if (turns.isSpent) turns.postpone(() => handle(exchange, arrivedMs));
    else handle(exchange, arrivedMs);
  };
  return { lookup: handleInTurn, afterLookups: () => joint.flush() };
}
