import assert from "node:assert/strict";
import { systemClock, TraceParent } from "@shardserve/core";
import { type Exchange, lookupRequestBytes, readLookupRequest, TRACE_BYTES } from "@shardserve/transport";
import { fakeShard, honest, rowsOver } from "./fake-shards.js";

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const SPAN_ID = "00f067aa0ba902b7";

describe("the trace of a lookup", () => {
  /** What a shard reads of two lookups, the first of them traced. */
  async function seenBy(takesTraces: boolean) {
    const seen: (TraceParent | undefined)[] = [];
    const surplus: number[] = [];
    const answer = (exchange: Exchange) => {
      const request = readLookupRequest(exchange.payload);
      seen.push(request.trace);
      surplus.push(exchange.payload.length - lookupRequestBytes(request.tableCount, request.idCount));
      honest(exchange);
    };
    await using shard = await fakeShard("right", answer, {}, takesTraces);
    const rows = await rowsOver({ right: shard });
    await rows.whenReady({ deadlineMs: systemClock.nowMs() + 5_000 });
    const traceParent = new TraceParent(TRACE_ID, SPAN_ID);
    (await rows.lookup([{ table: 0, ids: BigInt64Array.of(1n, 2n) }], { traceParent })).release();
    (await rows.lookup([{ table: 0, ids: BigInt64Array.of(3n) }])).release();
    await rows.close();
    return { seen: seen.map((trace) => trace && [trace.traceId, trace.spanId]), surplus, traceParent };
  }

  it("goes to a shard that takes it, with a traced lookup alone", async () => {
    const { seen, surplus, traceParent } = await seenBy(true);
    assert.deepEqual(seen, [[TRACE_ID, SPAN_ID], undefined]);
    assert.deepEqual(surplus, [TRACE_BYTES, 0]);
    assert.notEqual(traceParent.sentMs, undefined);
  });

  it("does not go to a shard that knows nothing of traces, which answers as before", async () => {
    const { seen, surplus } = await seenBy(false);
    assert.deepEqual(seen, [undefined, undefined]);
    assert.deepEqual(surplus, [0, 0]);
  });

  it("stays here when all rows are cached: nobody else has a part in it", async () => {
    await using shard = await fakeShard("right", (exchange) => honest(exchange), {}, true);
    const rows = await rowsOver({ right: shard });
    await rows.whenReady({ deadlineMs: systemClock.nowMs() + 5_000 });
    const requests = [{ table: 0, ids: BigInt64Array.of(1n) }];
    (await rows.lookup(requests)).release();
    const traceParent = new TraceParent(TRACE_ID, SPAN_ID);
    (await rows.lookup(requests, { traceParent })).release();
    assert.equal(traceParent.sentMs, undefined);
    await rows.close();
  });
});
