import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { tempDir } from "@shardserve/testkit";
import { LocalRows } from "../src/index.js";
import { tableOf } from "./fixtures.js";

describe("local rows", () => {
  it("hands out the mapped table itself, with ids as slots", async () => {
    await using dir = await tempDir();
    const path = join(dir.path, "data");
    const values = Float32Array.from({ length: 40 }, (_, i) => i / 2);
    await writeFile(path, Buffer.concat([Buffer.alloc(3), Buffer.from(values.buffer)]));
    const rows = new LocalRows();
    assert.equal(rows.add({ info: tableOf("a", 10, [2, 2]), path, offset: 3 }), 0);
    assert.equal(rows.add({ info: tableOf("b", 40, []), path, offset: 3 }), 1);
    const lease = await rows.lookup([
      { table: 0, ids: new BigInt64Array([9n, 0n, 9n]) },
      { table: 1, ids: new Int32Array([39]) },
    ]);
    assert.deepEqual(lease.batches[0]!.rows.shape, [10, 2, 2]);
    assert.deepEqual([...lease.batches[0]!.slots], [9, 0, 9]);
    assert.deepEqual(lease.batches[0]!.rows.toTensor().data, values);
    assert.deepEqual([...lease.batches[1]!.slots], [39]);
    for (const ids of [
      new BigInt64Array([0n, 10n]),
      new BigInt64Array([0n, -1n]),
      new BigInt64Array([1n, 2n ** 33n]),
    ]) {
      await assert.rejects(rows.lookup([{ table: 0, ids }]), (error) => {
        assert.ok(isServingError(error, "ROW_OUT_OF_RANGE"));
        assert.equal(error.message, `indices[1] = ${ids[1]} is not in [0, 10)`);
        return true;
      });
    }
    await assert.rejects(
      rows.lookup([{ table: 1, ids: new Int32Array([40]) }]),
      /indices\[0\] = 40 is not in \[0, 40\)/,
    );
    const closed = rows.close();
    lease.release();
    lease.release();
    await closed;
  });

  it("refuses a file that is too short", async () => {
    await using dir = await tempDir();
    const path = join(dir.path, "data");
    await writeFile(path, Buffer.alloc(100));
    assert.throws(
      () => new LocalRows().add({ info: tableOf("a", 10, [4]), path, offset: 0 }),
      (error) => isServingError(error, "INVALID_ARGUMENT"),
    );
  });
});
