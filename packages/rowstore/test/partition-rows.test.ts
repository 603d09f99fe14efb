import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { tempDir } from "@shardserve/testkit";
import {
  type Manifest,
  PartitionFileWriter,
  PartitionRows,
  partitionLayout,
  partitionPath,
  type TableInfo,
} from "../src/index.js";

const TABLE: TableInfo = {
  name: "t",
  checkpointKey: "t",
  rows: 50,
  rowShape: [3],
  dim: 3,
  dtype: "float32",
  rowDtype: "same",
  rowBytes: 12,
};
const PARTITIONS = 7;

/** A version with one table whose element (row, i) is 10 * row + i. */
async function writeVersion(dir: string): Promise<Manifest> {
  await mkdir(join(dir, "partitions"));
  const layout = partitionLayout([TABLE], PARTITIONS);
  const files = [];
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const path = partitionPath(partition);
    const writer = await PartitionFileWriter.create(join(dir, path), partition, layout);
    const rows = new Float32Array(Math.ceil(TABLE.rows / PARTITIONS) * 3);
    for (let k = 0; k * PARTITIONS + partition < TABLE.rows; k++) {
      for (let i = 0; i < 3; i++) rows[3 * k + i] = 10 * (k * PARTITIONS + partition) + i;
    }
    await writer.append(new Uint8Array(rows.buffer));
    files.push({ path, ...(await writer.finish()) });
  }
  return {
    writer: "test",
    sourceDigest: "0".repeat(32),
    partitionCount: PARTITIONS,
    tables: [TABLE],
    lookups: [],
    files,
  };
}

describe("PartitionRows", () => {
  it("finds rows by int32 and int64 ids, repeated ones included", async () => {
    await using dir = await tempDir();
    const source = await PartitionRows.open(dir.path, await writeVersion(dir.path));
    for (const ids of [Int32Array.of(49, 0, 7, 7), BigInt64Array.of(49n, 0n, 7n, 7n)]) {
      const lease = await source.lookup([{ table: 0, ids }]);
      const [{ rows, slots }] = lease.batches as [(typeof lease.batches)[0]];
      const data = rows.toTensor().data as Float32Array;
      assert.deepEqual(
        Array.from(slots, (slot) => data[3 * slot + 1]),
        [491, 1, 71, 71],
      );
      lease.release();
    }
    await source.close();
  });

  it("refuses ids outside the table, and files that are not those of the manifest", async () => {
    await using dir = await tempDir();
    const manifest = await writeVersion(dir.path);
    const source = await PartitionRows.open(dir.path, manifest);
    await assert.rejects(source.lookup([{ table: 0, ids: BigInt64Array.of(1n, 50n) }]), (error) =>
      isServingError(error, "ROW_OUT_OF_RANGE"),
    );
    await assert.rejects(
      source.lookup([{ table: 0, ids: Int32Array.of(-1) }]),
      /indices\[0\] = -1 is not in \[0, 50\)/,
    );
    await source.close();
    const files = manifest.files.map((file, i) => (i === 3 ? { ...file, digest: "f".repeat(32) } : file));
    await assert.rejects(PartitionRows.open(dir.path, { ...manifest, files }), (error) =>
      isServingError(error, "DIGEST_MISMATCH"),
    );
  });
});
