import assert from "node:assert/strict";
import fc from "fast-check";
import { choosePartitionCount, partitionLayout, partitionPath, rowsInPartition } from "../src/index.js";

const tables = fc.array(
  fc.record({ rows: fc.integer({ min: 0, max: 5000 }), rowBytes: fc.integer({ min: 1, max: 600 }) }),
  {
    maxLength: 12,
  },
);

describe("partition layout", () => {
  it("gives every row one place, groups whole pages, and adds up", () => {
    fc.assert(
      fc.property(tables, fc.integer({ min: 1, max: 200 }), (specs, partitionCount) => {
        const layout = partitionLayout(specs, partitionCount);
        assert.equal(layout.sections.length, specs.length);
        assert.deepEqual(
          layout.sections.map((section) => section.table).sort((a, b) => a - b),
          specs.map((_, i) => i),
        );
        let end = layout.headerBytes;
        for (const group of layout.groups) {
          assert.equal(group.offset % 4096, 0);
          assert.ok(group.offset >= end && group.offset - end < 4096);
          end = group.offset;
          for (const section of group.sections) {
            assert.equal(section.offset, end);
            assert.equal(section.rowBytes, group.rowBytes);
            const rows = specs[section.table]!.rows;
            for (const partition of [0, 1, partitionCount - 1]) {
              assert.ok(section.rowCount - rowsInPartition(rows, partition % partitionCount, partitionCount) <= 1);
            }
            end += section.rowCount * section.rowBytes;
          }
          assert.equal(end - group.offset, group.rowCount * group.rowBytes);
        }
        assert.equal(layout.dataBytes, Math.ceil((end - layout.headerBytes) / 4096) * 4096);
        assert.equal(layout.fileBytes, layout.headerBytes + layout.dataBytes + layout.blockCount * 8 + 16);
      }),
    );
  });

  it("counts the rows of a partition as listing them does", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 700 }), fc.integer({ min: 1, max: 80 }), (rows, partitionCount) => {
        const counts = Array.from({ length: partitionCount }, () => 0);
        for (let id = 0; id < rows; id++) counts[id % partitionCount]!++;
        for (let p = 0; p < partitionCount; p++) assert.equal(rowsInPartition(rows, p, partitionCount), counts[p]);
      }),
    );
  });

  it("chooses a prime with partitions of 64 to 256 MiB for big models", () => {
    assert.equal(choosePartitionCount(0), 61);
    assert.equal(choosePartitionCount(2 ** 30), 61);
    for (const gib of [8, 20, 64, 100, 500, 4000]) {
      const bytes = gib * 2 ** 30;
      const count = choosePartitionCount(bytes);
      const mib = bytes / count / 2 ** 20;
      assert.ok(mib >= 64 && mib <= 256, `${gib} GiB: ${count} partitions of ${mib} MiB`);
      for (let divisor = 2; divisor * divisor <= count; divisor++) assert.notEqual(count % divisor, 0);
    }
    assert.equal(partitionPath(17), "partitions/p-00017.rows");
  });
});
