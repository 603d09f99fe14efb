import { byIdentity } from "@shardserve/core";
import { type DType, DTYPES, isNumeric, type NumericDType } from "@shardserve/tensor";

/**
 * How a row is stored: `same` as the variable's own elements, or reduced to `float16` or to `int8` with its scale and
 * offset inline. Only float32 tables are ever reduced; their rows are float32 again wherever they are used.
 */
export const ROW_DTYPES = ["same", "float16", "int8"] as const;
/** How the elements of a row are stored; "same" = as the table's own dtype. */
export type RowDType = (typeof ROW_DTYPES)[number];

/** One embedding variable that lookups read. */
export interface TableInfo {
  /** Name of the variable in the graph. */
  readonly name: string;
  /** Key of the variable in the checkpoint; identifies it everywhere. */
  readonly checkpointKey: string;
  /** Rows; valid ids are [0, rows). */
  readonly rows: number;
  /** Shape of one row; [] for a table of single elements. */
  readonly rowShape: readonly number[];
  /** Elements of one row: the product of `rowShape`. */
  readonly dim: number;
  /** Element type of the variable, and of its rows once decoded. */
  readonly dtype: NumericDType;
  readonly rowDtype: RowDType;
  /** Bytes of one stored row, which is also the distance between rows. */
  readonly rowBytes: number;
}

/** Bytes before the elements of an int8 row: float32 scale, float32 offset. */
export const INT8_HEAD_BYTES = 8;

/** Bytes of one stored row. Int8 rows are padded to a multiple of 4, so that scale and offset stay aligned. */
export function storedRowBytes(rowDtype: RowDType, dtype: NumericDType, dim: number): number {
  if (rowDtype === "float16") return dim * 2;
  if (rowDtype === "int8") return Math.ceil((INT8_HEAD_BYTES + dim) / 4) * 4;
  return dim * DTYPES[dtype].bytes;
}

/**
 * The indexes of tables by what callers of public interfaces may call them: the checkpoint key, and the name that `inspect` prints
 * where no other table has it as a name or a key.
 */
export const tablesByName = byIdentity((tables: readonly TableInfo[]): ReadonlyMap<string, number> => {
  const byName = new Map<string, number>();
  const shared = new Set<string>();
  for (const [index, { name }] of tables.entries()) {
    if (byName.has(name)) shared.add(name);
    byName.set(name, index);
  }
  for (const name of shared) byName.delete(name);
  for (const [index, { checkpointKey }] of tables.entries()) byName.set(checkpointKey, index);
  return byName;
});

/** True for element types whose rows can be sharded. */
export function isTableDType(dtype: DType): dtype is NumericDType {
  return isNumeric(dtype);
}
