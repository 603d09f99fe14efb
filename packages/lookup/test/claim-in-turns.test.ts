import assert from "node:assert/strict";
import { systemClock } from "@shardserve/core";
import { type Exchange, FRAME, planRows, readLookupRequest, writeRowsHead } from "@shardserve/transport";
import type { RowLease } from "@shardserve/rowstore";
import { LookupMetrics, type ShardRows, type ShardRowsOptions } from "../src/index.js";
import { fakeShard, rowsOver, TABLE } from "./fake-shards.js";

const ID_COUNT = 20_000;
const IDS = BigInt64Array.from({ length: ID_COUNT }, (_, i) => BigInt((i * 7919) % 100_003));
const REQUEST = [{ table: 0, ids: IDS }];
const OPTIONS: Partial<ShardRowsOptions> = {
  tables: [{ ...TABLE, rows: 100_003 }],
  cacheBytes: 8 * 2 ** 20,
  timeoutMs: 30_000,
};

/** Every element of row i is i at epoch 0, i + 2^20 at epoch 1. */
class CountingShard {
  askedRows = 0;

  readonly answer = (exchange: Exchange): void => {
    const { ids, epoch } = readLookupRequest(exchange.payload);
    this.askedRows += ids.length;
    const table = { table: 0, status: 0, rowCount: ids.length, rowBytes: 16, defaults: new Uint32Array(0), detail: 0 };
    const layout = planRows([table]);
    const payload = Buffer.alloc(layout.bytes);
    writeRowsHead(payload, layout, 1, epoch, [table]);
    const elements = new Float32Array(payload.buffer, payload.byteOffset + layout.rowOffsets[0]!, ids.length * 4);
    for (let i = 0; i < elements.length; i++) elements[i] = Number(ids[i >> 2]) + epoch * 2 ** 20;
    exchange.reply(FRAME.ROWS, [payload]);
  };
}

function check(lease: RowLease, epoch: number): void {
  const [batch] = lease.batches;
  const view = batch!.rows.view<"float32">();
  const got = Float64Array.from(batch!.slots, (slot) => view[slot * 4 + 3]!);
  const wanted = Float64Array.from(IDS, (id) => Number(id) + epoch * 2 ** 20);
  assert.deepEqual(got, wanted);
  lease.release();
}

async function withRows(
  options: Partial<ShardRowsOptions>,
  use: (rows: ShardRows, shard: CountingShard) => Promise<void>,
): Promise<void> {
  const shard = new CountingShard();
  await using server = await fakeShard("s", shard.answer);
  const rows = await rowsOver({ s: server }, { ...OPTIONS, ...options });
  await rows.whenReady({ deadlineMs: systemClock.nowMs() + 10_000 });
  await use(rows, shard);
  await rows.close();
}

describe("a batch that is claimed in several turns", () => {
  it("shares its rows with batches that come in between: each is fetched once", async () => {
    await withRows({}, async (rows, shard) => {
      for (const lease of await Promise.all([rows.lookup(REQUEST), rows.lookup(REQUEST)])) check(lease, 0);
      assert.equal(shard.askedRows, ID_COUNT);
    });
  });

  it("counts a row once that another batch asks for in between", async () => {
    const metrics = new LookupMetrics();
    await withRows({ metrics }, async (rows) => {
      const again = BigInt64Array.from([...IDS, IDS[0]!]); // in the first turn, and in the last
      const large = rows.lookup([{ table: 0, ids: again }]);
      const small = rows.lookup([{ table: 0, ids: IDS.subarray(0, 1) }]);
      for (const lease of await Promise.all([large, small])) lease.release();
      const { values } = await metrics.rows.get();
      const count = (source: string) => values.find(({ labels }) => labels.source === source)?.value;
      assert.deepEqual([count("shard"), count("cache")], [ID_COUNT, 1]);
    });
  });

  it("shares nothing and caches nothing where tables have no slab", async () => {
    await withRows({ cacheBytes: 0 }, async (rows, shard) => {
      for (const lease of await Promise.all([rows.lookup(REQUEST), rows.lookup(REQUEST)])) check(lease, 0);
      assert.equal(shard.askedRows, 2 * ID_COUNT);
    });
  });

  it("leaves no row of the epoch before in the cache when the epoch moves on in between", async () => {
    for (const changed of [undefined, new Map([[0, IDS]])]) {
      await withRows({}, async (rows) => {
        const before = rows.lookup(REQUEST);
        rows.setMap({ ...rows.map!, epoch: 1, generation: 2 }, changed);
        check(await before, 0);
        check(await rows.lookup(REQUEST), 1);
      });
    }
  });

  it("is of the epoch that it names, whichever the map says: graphs are shared by epochs", async () => {
    await withRows({}, async (rows) => {
      const source = rows.withTables(rows.tables);
      rows.setMap({ ...rows.map!, epoch: 1, generation: 2 }, new Map([[0, IDS]]));
      for (const epoch of [0, 1, 0]) check(await source.lookup(REQUEST, { epoch }), epoch);
      check(await source.lookup(REQUEST), 1);
    });
  });

  it("gives back what it claimed when its caller gives up in between, and others fetch what they waited for", async () => {
    await withRows({}, async (rows) => {
      const abort = new AbortController();
      const given = rows.lookup(REQUEST, { signal: abort.signal });
      const waiting = rows.lookup(REQUEST);
      const reason = new Error("enough");
      abort.abort(reason);
      await assert.rejects(given, reason);
      check(await waiting, 0);
    });
  });

  it("that does not fit into the slab after all gets a buffer of its own", async () => {
    await withRows({ cacheBytes: 2 ** 20 }, async (rows) => {
      const { capacityRows } = rows.cacheUse;
      assert.ok(capacityRows > 8192 && capacityRows < ID_COUNT, `${capacityRows} slots`);
      for (let i = 0; i < 2; i++) check(await rows.lookup(REQUEST), 0);
    });
  });
});
