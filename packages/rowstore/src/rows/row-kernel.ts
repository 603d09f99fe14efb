import { loadOrt, type NativeMemory, type OrtSession, OrtValue, opModel } from "@shardserve/native";
import { type CancelSignal, invariant } from "@shardserve/core";

/**
 * ONNX Runtime's GatherND over rows of bytes: C-speed copies of scattered rows, on all cores, from memory that JavaScript
 * cannot address. One session serves every row width: the kernel copies rows with memcpy whatever the element type, so
 * uint8 is as fast as any. GatherND works out all addresses before it copies, Gather one by one between the copies, so
 * that fewer rows are on their way from memory at a time (docs/decisions/010-gather-is-the-row-kernel.md).
 */
export class RowKernel {
  /** Divides a gather over the threads of ONNX Runtime's pool. */
  readonly #session: OrtSession;
  /** Never waits for another thread. */
  readonly #alone: OrtSession;

  private constructor() {
    const model = opModel(
      "GatherND",
      [
        { dtype: "uint8", shape: [-1, -1] },
        { dtype: "int64", shape: [-1, 1] },
      ],
      [{ dtype: "uint8", shape: [-1, -1] }],
    );
    this.#session = loadOrt().createSessionSync(model);
    this.#alone = loadOrt().createSessionSync(model, { isSingleThreaded: true });
  }

  static #shared: RowKernel | undefined;

  /** The process's kernel; loads ONNX Runtime with defaults unless that has happened. */
  static shared(): RowKernel {
    return (RowKernel.#shared ??= new RowKernel());
  }

  /** The rows of a gather: `rowCount` rows of `rowBytes` bytes. The caller disposes of it before freeing the memory. */
  static table(memory: NativeMemory | ArrayBufferView, rowCount: number, rowBytes: number): OrtValue {
    return OrtValue.overMemory("uint8", [rowCount, rowBytes], memory);
  }

  /**
   * Copies rows `indexes[at .. at + count)` of `table` to `output`, on this thread.
   *
   * @param indexes  must lie inside the table: a negative one would count from its end, one in a hole kills the process
   * @param output   at least `count` rows
   */
  gatherSync(table: OrtValue, indexes: BigInt64Array, at: number, count: number, output: Uint8Array): void {
    if (count === 0) return;
    const [ids, rows] = wrap(table, indexes, at, count, output);
    try {
      this.#alone.runSync([table, ids], { into: [rows] });
    } finally {
      ids.dispose();
      rows.dispose();
    }
  }

  /** As {@link gatherSync}, on other threads, large ones on several: page faults do not stop the event loop. Arguments must not change meanwhile. */
  async gather(
    table: OrtValue,
    indexes: BigInt64Array,
    at: number,
    count: number,
    output: Uint8Array,
    signal?: CancelSignal,
  ): Promise<void> {
    if (count === 0) return;
    const [ids, rows] = wrap(table, indexes, at, count, output);
    try {
      await this.#session.run([table, ids], { into: [rows], signal });
    } finally {
      ids.dispose();
      rows.dispose();
    }
  }
}

function wrap(
  table: OrtValue,
  indexes: BigInt64Array,
  at: number,
  count: number,
  output: Uint8Array,
): [OrtValue, OrtValue] {
  const rowBytes = table.shape[1]!;
  invariant(
    output.byteLength >= count * rowBytes && at + count <= indexes.length,
    () => `${count} rows of ${rowBytes} bytes into ${output.byteLength}`,
  );
  return [
    OrtValue.overMemory("int64", [count, 1], at === 0 ? indexes : indexes.subarray(at)),
    OrtValue.overMemory("uint8", [count, rowBytes], output),
  ];
}
