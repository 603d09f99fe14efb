import { ServingError } from "@shardserve/core";

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

/**
 * Checks that every id lies in [0, rows).
 *
 * @throws ServingError ROW_OUT_OF_RANGE in TensorFlow's words; details {table, position, id, rows}
 */
export function checkRange(ids: IdLanes, rows: number, table: number): void {
  const position = findOutOfRange(ids, rows);
  if (position < 0) return;
  const id = idText(ids, position);
  throw new ServingError("ROW_OUT_OF_RANGE", `indices[${position}] = ${id} is not in [0, ${rows})`, {
    details: { table, position, id, rows },
  });
}

/** @returns position of the first id outside [0, rows), or -1 */
export function findOutOfRange({ lanes, stride, count }: IdLanes, rows: number): number {
  for (let i = 0; i < count; i++) {
    const lo = lanes[i * stride] as number;
    if (stride === 1) {
      if (lo < 0 || lo >= rows) return i;
      continue;
    }
    const hi = lanes[i * 2 + 1] as number;
    if (hi < 0 || hi * 2 ** 32 + (lo >>> 0) >= rows) return i;
  }
  return -1;
}

function idText({ lanes, stride }: IdLanes, position: number): string {
  const lo = lanes[position * stride] as number;
  if (stride === 1) return String(lo);
  return String((BigInt(lanes[position * 2 + 1] as number) << 32n) | BigInt(lo >>> 0));
}
