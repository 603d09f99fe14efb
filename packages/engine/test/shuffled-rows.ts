import { invariant } from "@shardserve/core";
import { OrtValue } from "@shardserve/native";
import {
  emptyRowReport,
  type LookupOptions,
  type RowLease,
  type RowRequest,
  rowOutOfRange,
  type RowSource,
  type TableInfo,
} from "@shardserve/rowstore";
import type { Tensor } from "@shardserve/tensor";

/** A stand-in for shards and caches: unique rows in reversed order in a slab that has room to spare. */
export class ShuffledRows implements RowSource {
  readonly tables: readonly TableInfo[];
  readonly #values: readonly Tensor<"float32">[];
  leases = 0;
  calls = 0;
  /** Ids asked for so far, repeated ones included. */
  idCount = 0;
  isClosed = false;
  /** Settles before the rows do; a test holds it to look at a run in flight. */
  gate: Promise<void> = Promise.resolve();

  constructor(tables: readonly TableInfo[], values: readonly Tensor<"float32">[]) {
    this.tables = tables;
    this.#values = values;
  }

  async lookup(requests: readonly RowRequest[], { epoch = 3 }: LookupOptions = {}): Promise<RowLease> {
    this.calls++;
    for (const { table, ids } of requests) {
      const info = this.tables[table]!;
      for (const [i, id] of ids.entries()) {
        if (Number(id) < 0 || Number(id) >= info.rows) throw rowOutOfRange(info, i, id);
      }
    }
    await this.gate;
    const owned: OrtValue[] = [];
    const report = emptyRowReport(this.tables, epoch);
    const batches = requests.map(({ table, ids }) => {
      const { dim, rowShape } = this.tables[table]!;
      const unique = [...new Set([...ids].map(Number))].reverse();
      const slab = new Float32Array((unique.length + 5) * dim).fill(Number.NaN);
      const slotOf = new Map<number, number>();
      for (const [i, id] of unique.entries()) {
        slab.set(this.#values[table]!.data.subarray(id * dim, (id + 1) * dim), (i + 2) * dim);
        slotOf.set(id, i + 2);
      }
      report.shardRows[table]! += ids.length;
      this.idCount += ids.length;
      const rows = OrtValue.overMemory("float32", [unique.length + 5, ...rowShape], slab);
      owned.push(rows);
      return { rows, slots: Int32Array.from(ids as BigInt64Array, (id) => slotOf.get(Number(id))!) };
    });
    this.leases++;
    return {
      batches,
      report,
      release: () => {
        invariant(owned.length > 0 || requests.length === 0, "a lease is released once");
        this.leases--;
        for (const value of owned.splice(0)) value.dispose();
      },
    };
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }
}
