import assert from "node:assert/strict";
import { systemClock } from "@shardserve/core";
import { warmUp } from "../src/index.js";
import { fakeShard, honest, rowsOver } from "./fake-shards.js";

describe("warm-up", () => {
  it("fills a cache with what another one is asked for most, within its time", async () => {
    let asked = 0;
    await using right = await fakeShard("right", (exchange) => {
      asked++;
      honest(exchange);
    });
    const make = async () => {
      const rows = await rowsOver({ right });
      await rows.whenReady({ deadlineMs: systemClock.nowMs() + 5_000 });
      return rows;
    };
    const ask = async (rows: Awaited<ReturnType<typeof make>>, ids: readonly number[]) => {
      const lease = await rows.lookup([{ table: 0, ids: BigInt64Array.from(ids, BigInt) }]);
      lease.release();
      return [lease.report.cacheRows[0], lease.report.shardRows[0]];
    };
    const old = await make();
    const hot = Array.from({ length: 60 }, (_, i) => 3 * i);
    for (let i = 0; i < 3; i++) await ask(old, hot);
    await ask(old, [500, 501]);
    const options = { signal: new AbortController().signal, nowMs: () => systemClock.nowMs() };
    const fresh = await make();
    const hottest = (table: string) => old.hottest(table);
    assert.equal((await hottest("other")).length, 0);
    const later = { ...options, deadlineMs: systemClock.nowMs() + 5_000 };
    assert.equal(await warmUp(fresh, () => Promise.resolve(new BigInt64Array(0)), later), 0);
    assert.equal(await warmUp(fresh, hottest, { ...options, deadlineMs: systemClock.nowMs() }), 0);
    const beyond = async (table: string) => BigInt64Array.of(...(await hottest(table)), 1_000n, 2n ** 40n, -1n);
    assert.equal(await warmUp(fresh, beyond, later), 60);
    const before = asked;
    assert.deepEqual(await ask(fresh, hot), [60, 0]);
    assert.equal(asked, before);
    assert.deepEqual(await ask(fresh, [500]), [0, 1]);
    await old.close();
    await fresh.close();
  });
});
