import { invariant } from "@shardserve/core";
import { type Ort, type OrtSession, OrtValue, opModel } from "@shardserve/native";
import { type NumericDType, newData } from "@shardserve/tensor";

/** Widest element that divides a row, so that the kernel moves few, large elements. */
function elementOf(rowBytes: number): { readonly dtype: NumericDType; readonly bytes: number } {
  if (rowBytes % 8 === 0) return { dtype: "float64", bytes: 8 };
  if (rowBytes % 4 === 0) return { dtype: "float32", bytes: 4 };
  if (rowBytes % 2 === 0) return { dtype: "uint16", bytes: 2 };
  return { dtype: "uint8", bytes: 1 };
}

/**
 * Deals consecutive rows out to partitions: row `id` goes to partition `id mod P`.
 *
 * Rows `[k, P, row]` become `[P, k, row]`, which is ONNX Runtime's Transpose: it moves whole rows at memory speed
 * (8-20 GB/s here; a JavaScript loop reaches 0.4), and off the event loop.
 */
export class RowScatter implements Disposable {
  readonly #session: OrtSession;
  readonly #dtype: NumericDType;
  readonly #elementBytes: number;
  readonly #rowBytes: number;
  readonly #partitionCount: number;

  constructor(ort: Ort, partitionCount: number, rowBytes: number) {
    const { dtype, bytes } = elementOf(rowBytes);
    this.#dtype = dtype;
    this.#elementBytes = bytes;
    this.#rowBytes = rowBytes;
    this.#partitionCount = partitionCount;
    const value = { dtype, shape: [-1, -1, -1] };
    this.#session = ort.createSessionSync(opModel("Transpose", [value], [value], { perm: [1, 0, 2] }));
  }

  /**
   * Deals out whole groups of P rows; row 0 of `source` has an id that is a multiple of P.
   *
   * @param source      [groupCount, P, rowBytes], 8-aligned
   * @param groupCount  rows that every partition gets
   * @param target      as large, 8-aligned, overwritten
   * @returns per partition its rows in ascending id order, as views of `target`
   */
  async scatter(source: Uint8Array, groupCount: number, target: Uint8Array): Promise<Uint8Array[]> {
    const width = this.#rowBytes / this.#elementBytes;
    const partitionBytes = groupCount * this.#rowBytes;
    const bytes = partitionBytes * this.#partitionCount;
    invariant(source.length >= bytes && target.length >= bytes, "the scatter buffers are too small");
    const from = this.#value([groupCount, this.#partitionCount, width], source, bytes);
    const to = this.#value([this.#partitionCount, groupCount, width], target, bytes);
    try {
      await this.#session.run([from], { into: [to] });
    } finally {
      from.dispose();
      to.dispose();
    }
    return Array.from({ length: this.#partitionCount }, (_, partition) =>
      target.subarray(partition * partitionBytes, (partition + 1) * partitionBytes),
    );
  }

  [Symbol.dispose](): void {
    this.#session.close();
  }

  #value(shape: readonly number[], memory: Uint8Array, bytes: number): OrtValue {
    const ArrayType = newData(this.#dtype, 0).constructor as new (
      buffer: ArrayBufferLike,
      offset: number,
      length: number,
    ) => Uint8Array;
    return OrtValue.overMemory(
      this.#dtype,
      shape,
      new ArrayType(memory.buffer, memory.byteOffset, bytes / this.#elementBytes),
    );
  }
}
