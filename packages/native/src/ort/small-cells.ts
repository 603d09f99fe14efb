import { type NumericData, type NumericDType, DTYPES, elementCount } from "@shardserve/tensor";

/** Copying this much costs less than what is saved. */
const CELL_BYTES_MAX = 1024;
const RANK_MAX = 2;
/** What idle cells may take together. */
export const IDLE_BYTES_MAX = 4 * 2 ** 20;
/** Of a cell beside its data, here and in ORT. */
const OVERHEAD_BYTES = 512;

/** A handle of ORT's over a few bytes of memory of ours. */
export interface SmallCell {
  readonly key: number;
  readonly handle: bigint;
  readonly data: NumericData;
}

/** What tells cells of one dtype and shape from others; -1 where there is nothing, or too much, to be kept in a cell. */
export function cellKey(dtype: NumericDType, shape: readonly number[]): number {
  const { onnx, bytes } = DTYPES[dtype];
  const length = elementCount(shape) * bytes;
  if (shape.length > RANK_MAX || length === 0 || length > CELL_BYTES_MAX) return -1;
  let key = onnx * (RANK_MAX + 1) + shape.length;
  for (let i = 0; i < shape.length; i++) key = key * (CELL_BYTES_MAX + 1) + shape[i]!;
  return key;
}

/**
 * Cells that no value uses, by key. Where they take too much, those go whose key came first, so that shapes that requests no longer
 * have make room for those that they do have now.
 */
export class SmallCells {
  readonly #idle = new Map<number, SmallCell[]>();
  readonly #release: (cell: SmallCell) => void;
  #idleBytes = 0;

  constructor(release: (cell: SmallCell) => void) {
    this.#release = release;
  }

  take(key: number): SmallCell | undefined {
    const cell = this.#idle.get(key)?.pop();
    if (cell) this.#idleBytes -= bytesOf(cell);
    return cell;
  }

  give(cell: SmallCell): void {
    this.#idleBytes += bytesOf(cell);
    if (this.#idleBytes > IDLE_BYTES_MAX) this.#makeRoom();
    const idle = this.#idle.get(cell.key);
    if (idle) idle.push(cell);
    else this.#idle.set(cell.key, [cell]);
  }

  #makeRoom(): void {
    for (const [key, cells] of this.#idle) {
      this.#idle.delete(key);
      for (const cell of cells) {
        this.#idleBytes -= bytesOf(cell);
        this.#release(cell);
      }
      if (this.#idleBytes <= IDLE_BYTES_MAX) return;
    }
  }
}

function bytesOf({ data }: SmallCell): number {
  return data.byteLength + OVERHEAD_BYTES;
}
