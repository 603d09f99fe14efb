import { lanesOf } from "@shardserve/tensor";

/** Indexes of rows of one width, of any of its tables, for one gather: {@link PartitionSet.locateColumns} appends to it. */
export class RowIndexes {
  readonly rowBytes: number;
  readonly indexes: BigInt64Array;
  /** `indexes` as 32-bit lanes. */
  readonly lanes: Int32Array;
  /** Indexes that are there. */
  count = 0;

  constructor(rowBytes: number, capacity: number) {
    this.rowBytes = rowBytes;
    this.indexes = new BigInt64Array(capacity);
    this.lanes = lanesOf(this.indexes);
  }
}
