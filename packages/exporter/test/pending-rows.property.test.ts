import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { isServingError } from "@shardserve/core";
import {
  appliedBy,
  DeltaFile,
  deltaPath,
  readDeltaManifest,
  rowDecoder,
  StoredRows,
  type StoredManifest,
  storedRowBytes,
  type TableInfo,
} from "@shardserve/rowstore";
import { tempDir } from "@shardserve/testkit";
import { PendingRows, type TableRows, writeApplied } from "../src/index.js";

const FAR = 2 ** 35;

function table(name: string, dim: number, rowDtype: TableInfo["rowDtype"]): TableInfo {
  const rowBytes = storedRowBytes(rowDtype, "float32", dim);
  return { name, checkpointKey: name, rows: FAR, rowShape: [dim], dim, dtype: "float32", rowDtype, rowBytes };
}

const TABLES = [table("plain", 3, "same"), table("half", 4, "float16")];

function update({ checkpointKey, dim }: TableInfo, ids: readonly number[], value: number): TableRows {
  const rows = new Float32Array(ids.length * dim).fill(value);
  // An odd offset, as in a message.
  const shifted = new Uint8Array(rows.byteLength + 1);
  shifted.set(new Uint8Array(rows.buffer), 1);
  return {
    table: checkpointKey,
    ids: new Uint8Array(BigInt64Array.from(ids, BigInt).buffer),
    rows: shifted.subarray(1),
  };
}

const id = fc.oneof(
  fc.nat(40),
  fc.nat(5_000),
  fc.nat(40).map((n) => FAR - 1 - n),
);
const batches = fc.array(
  fc.array(fc.record({ table: fc.nat(1), ids: fc.array(id, { maxLength: 60 }) }), { maxLength: 3 }),
  { maxLength: 30 },
);

describe("PendingRows", () => {
  it("takes tables by their names as well, where a name is of one table alone", () => {
    const named = (name: string, checkpointKey: string) => ({ ...table(name, 3, "same"), checkpointKey });
    const tables = [
      named("user", "layers/0"),
      named("item", "layers/1"),
      named("item", "layers/2"),
      named("x", "user"),
    ];
    const pending = new PendingRows(tables);
    const take = (name: string) => pending.put([{ ...update(tables[0]!, [1], 1), table: name }]);
    for (const name of ["layers/0", "layers/2", "x", "user"]) take(name);
    assert.deepEqual(
      tables.map((_, index) => pending.countOf(index)),
      [1, 0, 1, 1],
      "a key goes before a name",
    );
    assert.throws(
      () => take("item"),
      (error) =>
        isServingError(error, "INVALID_ARGUMENT") &&
        error.message.endsWith("there are layers/0, layers/1, layers/2, user"),
    );
  });

  it("keeps the last row of each id and hands them out by table, partition and position: as a Map does", () => {
    fc.assert(
      fc.property(batches, fc.integer({ min: 16, max: 70 }), (all, partitionCount) => {
        const pending = new PendingRows(TABLES);
        const twin = TABLES.map(() => new Map<number, number>());
        for (const [i, batch] of all.entries()) {
          const updates = batch.map(({ table: index, ids }) => update(TABLES[index]!, ids, i));
          const { rows } = pending.check(updates);
          assert.equal(
            rows,
            batch.reduce((sum, { ids }) => sum + ids.length, 0),
          );
          pending.put(updates);
          for (const { table: index, ids } of batch) for (const one of ids) twin[index]!.set(one, i);
        }
        assert.equal(pending.count, twin[0]!.size + twin[1]!.size);
        const found = TABLES.map(() => new Map<number, number>());
        let last = [-1, -1];
        for (const { table: index, partition, positions, rows } of pending.sections(partitionCount)) {
          assert.ok(index > last[0]! || (index === last[0]! && partition > last[1]!), "sections ascend");
          last = [index, partition];
          const info = TABLES[index]!;
          const decoded = new Float32Array(positions.length * info.dim);
          const slots = Int32Array.from(positions, (_, i) => i);
          rowDecoder(info)(new StoredRows(rows), 0, positions.length, decoded, slots, 0);
          positions.forEach((position, i) => {
            assert.ok(i === 0 || position > positions[i - 1]!, "positions ascend");
            const row = new Set(decoded.subarray(i * info.dim, (i + 1) * info.dim));
            assert.equal(row.size, 1);
            found[index]!.set(position * partitionCount + partition, [...row][0]!);
          });
        }
        assert.deepEqual(
          found.map((rows) => [...rows].sort(([a], [b]) => a - b)),
          twin.map((rows) => [...rows].sort(([a], [b]) => a - b)),
        );
      }),
      { numRuns: 60 },
    );
  });

  it("takes nothing of a batch that is wrong anywhere", () => {
    const pending = new PendingRows(TABLES);
    const good = update(TABLES[0]!, [1], 1);
    const bad: [RegExp, TableRows][] = [
      [/no sharded table "x"; there are plain, half/, { ...good, table: "x" }],
      [/7 bytes are no whole int64s/, { ...good, ids: good.ids.subarray(1) }],
      [/11 bytes, 1 rows of float32\[3\] have 12/, { ...good, rows: good.rows.subarray(1) }],
      [/row 34359738368 of table plain/, update(TABLES[0]!, [FAR], 1)],
      [/row -5 of table plain/, update(TABLES[0]!, [-5], 1)],
    ];
    for (const [message, one] of bad) assert.throws(() => pending.check([good, one]), message);
    assert.equal(pending.count, 0);
  });
});

describe("an epoch of streamed rows", () => {
  it("is a delta that names its sources, follows its parent, and is never written over another", async () => {
    await using dir = await tempDir("shardserve-applied-");
    const base = {
      digest: "a".repeat(32),
      manifest: { partitionCount: 16, tables: TABLES },
    } as unknown as StoredManifest;
    const pending = new PendingRows(TABLES);
    pending.put([update(TABLES[0]!, [5, 21, 5], 2), update(TABLES[1]!, [3], 4)]);
    const on = { versionDir: dir.path, base, parent: { epoch: 0, digest: base.digest }, tables: TABLES };
    const options = { writer: "test", createdAtMs: 7, applied: [{ source: "a", sequence: 3 }] };
    await mkdir(join(dir.path, deltaPath(4)), { recursive: true }); // a number that was used is not used again
    const ref = await writeApplied(on, pending, options);
    assert.equal(ref.epoch, 5);
    const stored = await readDeltaManifest(join(dir.path, deltaPath(5)));
    assert.equal(stored?.digest, ref.digest);
    assert.deepEqual([...appliedBy([stored!])], [["a", 3]]);
    assert.deepEqual(stored!.manifest.tables, [
      { rows: FAR, changed: 2 },
      { rows: FAR, changed: 1 },
    ]);
    await using file = await DeltaFile.open(join(dir.path, deltaPath(5)), TABLES);
    const segment = await file.segment(5);
    assert.deepEqual(
      segment?.layout.sections.map(({ table: index, rowCount }) => [index, rowCount]),
      [[0, 2]],
    );
    assert.deepEqual([...segment!.positions[0]!], [0, 1]);
    const [one, two] = await Promise.allSettled([
      writeApplied(on, pending, options),
      writeApplied(on, pending, options),
    ]);
    const refused = [one, two].filter(({ status }) => status === "rejected");
    for (const { reason } of refused as PromiseRejectedResult[])
      assert.ok(isServingError(reason, "OUTPUT_EXISTS"), reason);
  });
});
