/** Ids of one table as 32-bit lanes, without a copy: (lo, hi) pairs of int64 ids, or int32 ids as they are. */
export interface IdLanes {
  readonly lanes: Int32Array;
  readonly stride: 1 | 2;
  readonly count: number;
}

export function idLanes(ids: BigInt64Array | Int32Array): IdLanes {
  if (ids instanceof Int32Array) return { lanes: ids, stride: 1, count: ids.length };
  return { lanes: new Int32Array(ids.buffer, ids.byteOffset, ids.length * 2), stride: 2, count: ids.length };
}

/** @returns position of the first id outside [0, rows), or -1 */
export function findOutOfRange({ lanes, stride, count }: IdLanes, rows: number): number {
  for (let i = 0; i < count; i++) {
    const lo = lanes[i * stride]!;
    if (stride === 1) {
      if (lo < 0 || lo >= rows) return i;
      continue;
    }
    const hi = lanes[i * 2 + 1]!;
    if (hi < 0 || hi * 2 ** 32 + (lo >>> 0) >= rows) return i;
  }
  return -1;
}

/** The id at a position, exact. */
export function idAt({ lanes, stride }: IdLanes, position: number): bigint {
  const lo = lanes[position * stride]!;
  if (stride === 1) return BigInt(lo);
  return (BigInt(lanes[position * 2 + 1]!) << 32n) | BigInt(lo >>> 0);
}
