import assert from "node:assert/strict";
import { seededRandom, systemClock } from "@shardserve/core";
import { place } from "@shardserve/placement";
import { type Exchange, FRAME, planRows, readLookupRequest, writeRowsHead } from "@shardserve/transport";
import { newClaim, RowCache, type ShardRows } from "../src/index.js";
import { fakeShard, P, rowsOver, TABLE } from "./fake-shards.js";

const TABLES = [
  { ...TABLE, rows: 50_000 },
  { ...TABLE, name: "u", checkpointKey: "u", rows: 50_000 },
];

/** Rows that every epoch changes: the most asked-for ones. */
const CHANGED = BigInt64Array.from({ length: 500 }, (_, id) => BigInt(id));

/** What every element of a row is. */
function elementOf(table: number, id: number, epoch: number): number {
  return id + table / 2 + (id < CHANGED.length ? epoch / 64 : 0);
}

/** A shard at whatever epoch it is asked at. */
function answerAt(epoch: () => number): (exchange: Exchange) => void {
  return (exchange) => {
    const { columns, ids } = readLookupRequest(exchange.payload);
    const tables = Array.from({ length: columns.length / 2 }, (_, k) => ({
      table: columns[2 * k] as number,
      status: 0,
      rowCount: columns[2 * k + 1] as number,
      rowBytes: 16,
      defaults: new Uint32Array(0),
      detail: 0,
    }));
    const layout = planRows(tables);
    const payload = Buffer.alloc(layout.bytes);
    writeRowsHead(payload, layout, 1, epoch(), tables);
    let at = 0;
    tables.forEach(({ table, rowCount }, k) => {
      for (let i = 0; i < rowCount * 4; i++) {
        const value = elementOf(table, Number(ids[at + (i >> 2)]), epoch());
        payload.writeFloatLE(value, (layout.rowOffsets[k] as number) + i * 4);
      }
      at += rowCount;
    });
    exchange.reply(FRAME.ROWS, [payload]);
  };
}

/** Looks skewed ids up and checks every row. */
async function ask(rows: ShardRows, random: () => number, counts: readonly number[], epoch = 0): Promise<void> {
  const requests = counts.map((count, table) => ({
    table,
    ids: BigInt64Array.from({ length: count }, () => BigInt(Math.floor(50_000 * random() ** 3))),
  }));
  const lease = await rows.lookup(requests);
  lease.batches.forEach(({ rows: values, slots }, table) => {
    const view = values.view<"float32">();
    slots.forEach((slot, i) => {
      const expected = elementOf(table, Number(requests[table]!.ids[i]), epoch);
      for (let k = 0; k < 4; k++) assert.equal(view[slot * 4 + k], expected, `table ${table}`);
    });
  });
  lease.release();
}

describe("a cache that is divided anew", () => {
  it("gives right rows to the lookups under way, before and after", async () => {
    await using shard = await fakeShard(
      "a",
      answerAt(() => 0),
    );
    const rows = await rowsOver({ a: shard }, { tables: TABLES, cacheBytes: 80 * 4_000, timeoutMs: 20_000 });
    await rows.whenReady({ deadlineMs: systemClock.nowMs() + 5_000 });
    const generator = seededRandom(3);
    const draw = () => generator.next();
    let isOver = false;
    let asked = 0;
    const askers = Array.from({ length: 4 }, async () => {
      while (!isOver) {
        await ask(rows, draw, [20, 200]);
        asked++;
      }
    });
    let moved = 0;
    for (let steps = 0; steps < 12 || moved === 0; steps++) {
      const target = asked + 200;
      while (asked < target) await new Promise((resolve) => setTimeout(resolve, 5));
      if (await rows.levelCache()) moved++;
    }
    isOver = true;
    await Promise.all(askers);
    const { capacityRows } = rows.cacheUse;
    assert.ok(capacityRows <= 4_000 && capacityRows > 3_900, String(capacityRows));
    await rows.close();
  });

  it("takes over no row that an epoch changed meanwhile", async () => {
    let epoch = 0;
    await using shard = await fakeShard(
      "a",
      answerAt(() => epoch),
    );
    const rows = await rowsOver({ a: shard }, { tables: TABLES, cacheBytes: 80 * 1_000, timeoutMs: 20_000 });
    await rows.whenReady({ deadlineMs: systemClock.nowMs() + 5_000 });
    const generator = seededRandom(4);
    const draw = () => generator.next();
    const fill = async (counts: readonly number[], lookups = 60) => {
      for (let i = 0; i < lookups; i++) await ask(rows, draw, counts, epoch);
    };
    let moved = 0;
    for (let turns = 0; turns < 16; turns++) {
      const counts = turns % 2 === 0 ? [2, 200] : [200, 2];
      await fill(counts);
      const levelling = rows.levelCache();
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
      epoch++;
      const shards = [{ id: "a", weight: 1, zone: "a" }];
      const map = place(shards, P, 1, { model: "m", version: 1, generation: 1 + epoch });
      rows.setMap({ ...map, epoch }, new Map(TABLES.map((_, table) => [table, CHANGED])));
      if (await levelling) moved++;
      await fill([200, 200], 10);
    }
    assert.ok(moved > 0);
    assert.ok(rows.cacheUse.capacityRows > 990, "what one table gives another one gets");
    await rows.close();
  });
});

describe("a row cache that takes over another's rows", () => {
  it("has those that are asked for most, each once, and takes newcomers", async () => {
    for (const capacity of [1, 2, 3, 7, 60, 100, 400]) {
      const before = new RowCache(100);
      let batch = 0;
      const claimAll = (cache: RowCache, ids: readonly number[]) => {
        const column = () => new Int32Array(ids.length);
        const claim = newClaim(++batch, ids.length);
        const slots = column();
        const found = cache.claim(Int32Array.from(ids), 1, ids.length, 0, slots, claim);
        cache.complete(claim.missSlots, 0, claim.missCount);
        cache.release(claim.pinned, 0, claim.pinnedCount);
        return { found, slots };
      };
      const all = Array.from({ length: 90 }, (_, i) => i);
      claimAll(before, all);
      for (let i = 0; i < 5; i++) claimAll(before, all.slice(0, 20));
      const after = new RowCache(capacity);
      const copied = new Map<number, number>();
      await after.adopt(before, (from, to) => copied.set(to, from));
      assert.equal(after.size, copied.size);
      assert.ok(after.size <= capacity);
      if (capacity > 25) for (const id of all.slice(0, 20)) assert.ok(after.peek(id, 0) >= 0, `${id} of ${capacity}`);
      for (const id of all) {
        const slot = after.peek(id, 0);
        if (slot >= 0) assert.equal(copied.get(slot), before.peek(id, 0));
      }
      for (let i = 0; i < 300; i++) {
        const { slots } = claimAll(after, [1_000 + i]);
        assert.equal(after.peek(1_000 + i, 0), slots[0]);
      }
      assert.ok(after.size <= capacity);
    }
  });
});
