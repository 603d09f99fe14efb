import { ServingError } from "@shardserve/core";
import { type Exchange, FRAME, type LookupHandler, readLookupRequest } from "@shardserve/transport";
import { JointLookup, type JointLookupOptions } from "./joint-lookup.js";
import type { GatheredRows, RowLookup } from "./row-lookup.js";
import type { ServedVersions } from "./served-version.js";

/** What a FramedServer needs to answer lookups. */
export interface FrameLookup {
  readonly lookup: LookupHandler;
  afterLookups(this: void): void;
}

/**
 * Answers LOOKUP frames: small ones that arrived together jointly, others each on its own. A request that expired, or
 * that nobody waits for any more, is dropped, not run.
 */
export function frameLookup(
  versions: ServedVersions,
  lookup: RowLookup,
  options: Omit<JointLookupOptions, "refuse">,
): FrameLookup {
  const { metrics, clock } = options;
  const refuse = (exchange: Exchange, error: unknown) => {
    const { code } = ServingError.from(error);
    metrics.refused.inc({ code });
    metrics.requests.inc({ protocol: "frame", code });
    exchange.fail(error);
  };
  const answer = (exchange: Exchange, rows: GatheredRows) => {
    metrics.requests.inc({ protocol: "frame", code: "OK" });
    exchange.reply(FRAME.ROWS, [rows.payload], rows.release);
  };
  const joint = new JointLookup({ ...options, refuse });
  const handle: LookupHandler = (exchange) => {
    try {
      const request = readLookupRequest(exchange.payload);
      const served = versions.byChannel(request.channel);
      if (!served) {
        const text = `channel ${request.channel} is not open here; open the version again`;
        throw new ServingError("VERSION_NOT_READY", text);
      }
      if (request.epoch !== served.epoch) {
        const text = `${served.model}/${served.version} is at epoch ${served.epoch} here, asked was ${request.epoch}`;
        throw new ServingError("EPOCH_MISMATCH", text);
      }
      if (joint.add(exchange, served, request)) return;
      const { generation, columns, ids, remainingMs } = request;
      const deadlineMs = remainingMs === 0 ? Number.POSITIVE_INFINITY : clock.nowMs() + remainingMs;
      const rows = lookup.runForSocket({ served, generation, columns, ids, deadlineMs });
      exchange.releasePayload();
      if ("parts" in rows) {
        metrics.requests.inc({ protocol: "frame", code: "OK" });
        return exchange.replyLazily(FRAME.ROWS, rows);
      }
      if (!(rows instanceof Promise)) return answer(exchange, rows);
      rows.then(
        (gathered) => answer(exchange, gathered),
        (error: unknown) => refuse(exchange, error),
      );
    } catch (error) {
      refuse(exchange, error);
    }
  };
  return { lookup: handle, afterLookups: () => joint.flush() };
}
