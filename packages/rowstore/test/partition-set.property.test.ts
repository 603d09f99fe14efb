import assert from "node:assert/strict";
import { copyFile, link, open, utimes } from "node:fs/promises";
import { join } from "node:path";
import { isServingError, seededRandom } from "@shardserve/core";
import type { NumericDType } from "@shardserve/tensor";
import { tempDir } from "@shardserve/testkit";
import fc from "fast-check";
import { PartitionSet, partitionPath, RowIndexes, RowKernel, type TableInfo } from "../src/index.js";
import { locateRows } from "../src/partition/locate.js";
import { flipByte, randomRows, tableOf, writePartitions } from "./fixtures.js";

const shapes: readonly (readonly [NumericDType, number[]])[] = [
  ["float32", [16]],
  ["float32", [4, 4]],
  ["float32", []],
  ["int64", [3]],
  ["uint8", [7]],
  ["float16", [33]],
  ["float32", [1023]],
];

const tableList = fc
  .array(fc.record({ kind: fc.nat(shapes.length - 1), rows: fc.integer({ min: 0, max: 300 }) }), {
    minLength: 1,
    maxLength: 6,
  })
  .map((specs) => specs.map(({ kind, rows }, i) => tableOf(`t${i}`, rows, shapes[kind]![1], shapes[kind]![0])));

/** Gathers `ids` of every table, tables of one width behind one another, as a shard does; the direct answer beside it. */
async function check(set: PartitionSet, content: readonly Uint8Array[], ids: readonly bigint[][]): Promise<void> {
  for (const rowBytes of new Set(set.tables.map((table) => table.rowBytes))) {
    const members = set.tables.flatMap((table, i) => (table.rowBytes === rowBytes ? [i] : []));
    const count = members.reduce((sum, table) => sum + ids[table]!.length, 0);
    const indexes = new BigInt64Array(count + 3);
    const output = new Uint8Array(4 + count * rowBytes).subarray(4);
    const expected = new Uint8Array(count * rowBytes);
    let at = 0;
    for (const table of members) {
      assert.equal(set.locate(table, new BigInt64Array(ids[table]!), indexes, 3 + at), -1);
      for (const id of ids[table]!) {
        const from = Number(id) * rowBytes;
        expected.set(content[table]!.subarray(from, from + rowBytes), at++ * rowBytes);
      }
    }
    await set.gather(rowBytes, indexes, 3, count, output);
    assert.ok(Buffer.compare(output, expected) === 0, `rows of ${rowBytes} bytes`);
  }
}

function pickIds(tables: readonly TableInfo[], seed: number, isWanted: (id: number) => boolean): bigint[][] {
  const random = seededRandom(seed);
  return tables.map((table) =>
    table.rows === 0
      ? []
      : Array.from({ length: 40 }, () => Math.floor(random.next() * table.rows))
          .filter(isWanted)
          .map(BigInt),
  );
}

describe("partition set", function () {
  this.timeout(60_000);

  it("gathers what direct indexing finds, while partitions come and go", async () => {
    await fc.assert(
      fc.asyncProperty(
        tableList,
        fc.integer({ min: 1, max: 13 }),
        fc.integer(),
        fc.constantFrom(0, 1 << 18),
        async (tables, partitionCount, seed, syncBytesMax) => {
          await using dir = await tempDir();
          const content = tables.map((table, i) => randomRows(table, seed + i));
          const digests = await writePartitions(dir.path, tables, content, partitionCount);
          const set = new PartitionSet(tables, partitionCount, { syncBytesMax });
          for (let p = 0; p < partitionCount; p++) {
            const added = await set.add(p, join(dir.path, partitionPath(p)), { expectedDigest: digests[p]! });
            assert.equal(added.digest, digests[p]);
          }
          await check(
            set,
            content,
            pickIds(tables, seed, () => true),
          );
          const gone = Math.abs(seed) % partitionCount;
          await set.remove(gone);
          assert.equal(set.has(gone), false);
          await check(
            set,
            content,
            pickIds(tables, seed + 1, (id) => id % partitionCount !== gone),
          );
          for (const [i, table] of tables.entries()) {
            if (table.rows <= gone) continue;
            const ids = new BigInt64Array([BigInt(gone)]);
            assert.equal(set.locate(i, ids, new BigInt64Array(1), 0), 0);
            assert.ok(isServingError(set.refusal(i, ids, 0), "PARTITION_NOT_OWNED"));
          }
          await set.add(gone, join(dir.path, partitionPath(gone)));
          await check(
            set,
            content,
            pickIds(tables, seed + 2, () => true),
          );
          await set.close();
        },
      ),
      { numRuns: 40 },
    );
  });

  it("finds the first bad id", async () => {
    await using dir = await tempDir();
    const tables = [tableOf("t", 100, [4])];
    await writePartitions(dir.path, tables, [randomRows(tables[0]!, 1)], 7);
    const set = new PartitionSet(tables, 7);
    for (const p of [0, 1, 2, 3, 4, 5]) await set.add(p, join(dir.path, partitionPath(p)));
    const indexes = new BigInt64Array(4);
    for (const [ids, position, text] of [
      [[1n, 100n, 6n, 0n], 1, "indices[1] = 100 is not in [0, 100)"],
      [[0n, 1n, -1n, 0n], 2, "indices[2] = -1 is not in [0, 100)"],
      [[2n ** 32n, 1n, 0n, 0n], 0, "indices[0] = 4294967296 is not in [0, 100)"],
      [[-(2n ** 63n), 1n, 0n, 0n], 0, "indices[0] = -9223372036854775808 is not in [0, 100)"],
      [[2n ** 63n - 1n, 1n, 0n, 0n], 0, "indices[0] = 9223372036854775807 is not in [0, 100)"],
      [[0n, 1n, 2n, 13n], 3, "row 13 of t lies in partition 6, which is not held here"],
    ] as const) {
      const column = new BigInt64Array(ids);
      assert.equal(set.locate(0, column, indexes, 0), position);
      assert.equal(set.refusal(0, column, position).message, text);
      assert.equal(set.refusal(0, new Int32Array(column.buffer), position).message, text);
    }
    assert.deepEqual(set.partitions, [0, 1, 2, 3, 4, 5]);
    await set.close();
    await set.close();
  });

  it("locates a whole request as it does column by column", async () => {
    await using dir = await tempDir();
    const tables = [tableOf("a", 100, [4]), tableOf("b", 40, [16]), tableOf("c", 7, [4])];
    const content = tables.map((table, i) => randomRows(table, i));
    await writePartitions(dir.path, tables, content, 7);
    const set = new PartitionSet(tables, 7);
    for (const p of [0, 1, 2, 3, 4, 5]) await set.add(p, join(dir.path, partitionPath(p)));
    const good = fc.bigInt(0n, 5n);
    const any = fc.oneof(
      { weight: 30, arbitrary: good },
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      fc.bigInt(-9n, 120n),
    );
    const columnList = fc.array(fc.record({ table: fc.nat(2), ids: fc.array(any, { maxLength: 3 }) }), {
      maxLength: 9,
    });
    fc.assert(
      fc.property(columnList, (columns) => {
        const head = columns.flatMap(({ table, ids }) => [table, ids.length]);
        const lanes = new Int32Array(BigInt64Array.from(columns.flatMap(({ ids }) => ids)).buffer);
        const words = Int32Array.from([9, 9, ...head, ...lanes]);
        const [wide, narrow] = [new RowIndexes(64, 40), new RowIndexes(16, 40)];
        const isLocated = set.locateColumns(words, 2, 2 + head.length, 0, [narrow, wide, narrow]);
        const expected = new Map<number, bigint[]>([
          [64, []],
          [16, []],
        ]);
        let isGood = true;
        for (const { table, ids } of columns) {
          const indexes = new BigInt64Array(ids.length);
          if (set.locate(table, BigInt64Array.from(ids), indexes, 0) >= 0) isGood = false;
          expected.get((tables[table] as TableInfo).rowBytes)?.push(...indexes);
        }
        assert.equal(isLocated, isGood);
        if (!isGood) return;
        for (const { rowBytes, indexes, count } of [wide, narrow]) {
          assert.deepEqual([...indexes.subarray(0, count)], expected.get(rowBytes));
        }
      }),
    );
    await set.close();
  });

  it("refuses files of another version, another place, or with a flipped byte, and stays as it was", async () => {
    await using dir = await tempDir();
    const tables = [tableOf("t", 100_000, [16])];
    const digests = await writePartitions(dir.path, tables, [randomRows(tables[0]!, 2)], 3);
    const set = new PartitionSet(tables, 3);
    const paths = [0, 1, 2].map((p) => join(dir.path, partitionPath(p)));
    await assert.rejects(set.add(1, paths[0]!), (error) => isServingError(error, "PARTITION_INVALID"));
    await assert.rejects(set.add(1, paths[1]!, { expectedDigest: digests[2]! }), (error) =>
      isServingError(error, "DIGEST_MISMATCH"),
    );
    const other = new PartitionSet([tableOf("t", 100_004, [16])], 3);
    await assert.rejects(other.add(1, paths[1]!), (error) => isServingError(error, "PARTITION_INVALID"));
    await other.close();
    const bad = join(dir.path, "bad.rows");
    await copyFile(paths[1]!, bad);
    await flipByte(bad, 4096 + 2 ** 20 + 5);
    await assert.rejects(set.add(1, bad, { expectedDigest: digests[1]! }), (error) => {
      assert.ok(isServingError(error, "CHECKSUM_MISMATCH"));
      assert.ok(error.message.startsWith(`${bad}: block 1 `));
      return true;
    });
    assert.deepEqual(set.partitions, []);
    await set.add(1, paths[1]!, { expectedDigest: digests[1]! });
    assert.deepEqual(set.partitions, [1]);
    assert.equal(set.mappedBytes, set.layout.dataBytes);
    await set.close();
  });

  it("unmaps only after the gathers that use a partition", async () => {
    await using dir = await tempDir();
    const tables = [tableOf("t", 200_000, [64])];
    const content = [randomRows(tables[0]!, 3)];
    await writePartitions(dir.path, tables, content, 2);
    const set = new PartitionSet(tables, 2, { residentBytesMax: 0 });
    for (const p of [0, 1]) await set.add(p, join(dir.path, partitionPath(p)));
    const count = 100_000;
    const ids = BigInt64Array.from({ length: count }, (_, i) => BigInt(2 * i + 1));
    const rounds = Array.from({ length: 8 }, () => {
      const indexes = new BigInt64Array(count);
      const output = new Uint8Array(count * 256);
      assert.equal(set.locate(0, ids, indexes, 0), -1);
      return { output, done: set.gather(256, indexes, 0, count, output) };
    });
    assert.ok(rounds.every(({ done }) => done instanceof Promise));
    const removed = set.remove(1);
    assert.equal(set.locate(0, ids, new BigInt64Array(count), 0), 0);
    const again = set.remove(0);
    await removed;
    for (const { output, done } of rounds) {
      await done;
      assert.ok(Buffer.compare(output.subarray(0, 256), content[0]!.subarray(256, 512)) === 0);
    }
    await again;
    await set.close();
  });

  it("computes indexes beyond 2^31 and 2^32 as BigInt arithmetic does", () => {
    const id = fc.bigInt({ min: 0n, max: 2n ** 40n });
    fc.assert(
      fc.property(
        fc.array(id, { maxLength: 20 }),
        fc.integer({ min: 1, max: 5000 }),
        fc.integer({ min: 0, max: 2 ** 40 }),
        (ids, partitionCount, base) => {
          const rows = 2 ** 40 + 1;
          const rowsPerSpan = Math.ceil(rows / partitionCount) + 7;
          const indexes = new BigInt64Array(ids.length + 1);
          const lanes = new Int32Array(new BigInt64Array(ids).buffer);
          const isHeld = new Uint8Array(partitionCount).fill(1);
          const out = new Int32Array(indexes.buffer);
          assert.equal(locateRows(lanes, rows, partitionCount, isHeld, base, rowsPerSpan, out, 1), -1);
          const count = BigInt(partitionCount);
          for (const [i, value] of ids.entries()) {
            assert.equal(indexes[i + 1], BigInt(base) + (value % count) * BigInt(rowsPerSpan) + value / count);
          }
        },
      ),
    );
  });

  it("shares one kernel", () => {
    assert.equal(RowKernel.shared(), RowKernel.shared());
  });

  it("reads a file that another set verified and maps no second time; a copy, and a file let go, are read", async () => {
    await using dir = await tempDir();
    const tables = [tableOf("a", 500, [16])];
    const [digest] = await writePartitions(dir.path, tables, [randomRows(tables[0]!, 1)], 1);
    const path = join(dir.path, partitionPath(0));
    const [linked, copied] = [join(dir.path, "linked"), join(dir.path, "copied")];
    await link(path, linked);
    await copyFile(path, copied);
    await utimes(path, 1000, 1000);
    const first = new PartitionSet(tables, 1);
    await first.add(0, path, { expectedDigest: digest! });
    // damage that leaves size and time as they were: only a reader of the blocks can see it
    for (const file of [path, copied]) {
      await using handle = await open(file, "r+");
      await handle.write(Buffer.of(0x55), 0, 1, 4096 + 7);
    }
    await utimes(path, 1000, 1000);
    const second = new PartitionSet(tables, 1);
    await second.add(0, linked, { expectedDigest: digest! });
    await second.remove(0);
    await assert.rejects(second.add(0, copied), (error) => isServingError(error, "CHECKSUM_MISMATCH"));
    await first.close();
    await assert.rejects(second.add(0, linked), (error) => isServingError(error, "CHECKSUM_MISMATCH"));
    await second.close();
  });
});
