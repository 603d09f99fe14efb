import { invariant, ServingError } from "@shardserve/core";
import {
  bytesOf,
  type DType,
  DTYPES,
  dataFromBytes,
  dtypeFromTf,
  elementCount,
  isNumeric,
  type NumericData,
  type NumericDType,
  StringColumn,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import { harmlessCallback, memcpy } from "../memory/libc.js";
import { addressOf, NativeMemory } from "../memory/native-memory.js";
import { readStrings, TSTRING_BYTES, writeStrings } from "./tf-strings.js";
import { type TfRuntime, tfRuntime } from "./tf-runtime.js";

/** Releases what was forgotten. A net, not the way: the collector knows nothing of the size behind a handle. */
const forgotten = new FinalizationRegistry<{ handle: bigint; strings: readonly bigint[] }>(({ handle, strings }) => {
  release(tfRuntime(), handle, strings);
});

function release(runtime: TfRuntime, handle: bigint, strings: readonly bigint[]): void {
  for (const address of strings) runtime.library.functions.TF_StringDealloc(address);
  runtime.library.functions.TF_DeleteTensor(handle);
  runtime.live.tensors--;
}

const NONE: readonly bigint[] = [];

/**
 * A tensor that TensorFlow can read.
 *
 * Its memory is TensorFlow's ({@link fromTensor}, outputs of a run), or it aliases memory of ours ({@link overMemory}).
 * `dispose()` ends it; inside a run that still uses it, the end waits for the run.
 */
export class TfTensor implements Disposable {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** @internal address of the TF_Tensor */
  readonly handle: bigint;
  readonly #runtime: TfRuntime;
  /** Keeps aliased memory reachable: the collector must not free it under TensorFlow. */
  readonly #memory: NativeMemory | undefined;
  /** Strings of this tensor that have memory of their own. */
  readonly #strings: readonly bigint[];
  #pins = 0;
  #isDisposed = false;

  private constructor(
    runtime: TfRuntime,
    handle: bigint,
    dtype: DType,
    shape: readonly number[],
    memory?: NativeMemory,
    strings: readonly bigint[] = NONE,
  ) {
    this.#runtime = runtime;
    this.handle = handle;
    this.dtype = dtype;
    this.shape = shape;
    this.#memory = memory;
    this.#strings = strings;
    runtime.live.tensors++;
    forgotten.register(this, { handle, strings }, this);
  }

  /**
   * A copy of a tensor in TensorFlow's own memory. Memory of the JavaScript heap is hardly ever aligned as TensorFlow wants
   * it, and a graph may keep what it is fed (a variable), so there is no alias to be had.
   */
  static fromTensor(value: Tensor): TfTensor {
    const runtime = tfRuntime();
    const { TF_TensorData } = runtime.library.functions;
    if (value.dtype === "string") {
      const column = value.data as StringColumn;
      invariant(column.length === elementCount(value.shape), "as many strings as the shape says");
      const handle = allocateTensor(runtime, "string", value.shape, column.length * TSTRING_BYTES);
      const strings = writeStrings(runtime, TF_TensorData(handle) as bigint | null, column);
      return new TfTensor(runtime, handle, "string", value.shape, undefined, strings);
    }
    invariant(isNumeric(value.dtype), `a ${value.dtype} tensor cannot be fed`);
    const bytes = bytesOf(value.data as NumericData);
    const handle = allocateTensor(runtime, value.dtype, value.shape, bytes.byteLength);
    if (bytes.byteLength > 0) memcpy(TF_TensorData(handle) as bigint, addressOf(bytes), bytes.byteLength);
    return new TfTensor(runtime, handle, value.dtype, value.shape);
  }

  /**
   * A tensor over memory of the caller: no copy where it is aligned to 64 bytes, else TensorFlow makes one at once. The
   * memory must outlive the tensor and whatever a graph makes of it: feed it only where nothing is kept or written.
   */
  static overMemory(dtype: NumericDType, shape: readonly number[], memory: NativeMemory): TfTensor {
    const runtime = tfRuntime();
    const bytes = elementCount(shape) * DTYPES[dtype].bytes;
    invariant(
      bytes <= memory.byteLength,
      `${dtype} tensor of shape [${shape.join(",")}] needs ${bytes} bytes, the memory has ${memory.byteLength}`,
    );
    if (bytes === 0) return new TfTensor(runtime, allocateTensor(runtime, dtype, shape, 0), dtype, shape);
    const handle = runtime.library.functions.TF_NewTensor(
      DTYPES[dtype].tf,
      shapeCells(shape),
      shape.length,
      memory.address,
      bytes,
      harmlessCallback,
      null,
    );
    if (typeof handle !== "bigint") throw refused(dtype, shape, bytes);
    return new TfTensor(runtime, handle, dtype, shape, memory);
  }

  /** @internal Takes over a handle that TensorFlow made. */
  static adopt(runtime: TfRuntime, handle: bigint): TfTensor {
    const { TF_TensorType, TF_NumDims, TF_Dim, TF_DeleteTensor } = runtime.library.functions;
    try {
      const dtype = dtypeFromTf(TF_TensorType(handle) as number);
      if (dtype === "resource" || dtype === "variant") {
        throw new ServingError("UNIMPLEMENTED", `an output is a ${dtype}, no tensor`);
      }
      const rank = TF_NumDims(handle) as number;
      const shape: number[] = [];
      for (let i = 0; i < rank; i++) shape.push(Number(TF_Dim(handle, i)));
      return new TfTensor(runtime, handle, dtype, shape);
    } catch (error) {
      TF_DeleteTensor(handle);
      throw error;
    }
  }

  /** The memory under a numeric tensor; valid until `dispose()`. */
  memory(): NativeMemory {
    invariant(!this.#isDisposed, "the TfTensor is disposed");
    invariant(isNumeric(this.dtype), "strings have no plain memory");
    const bytes = elementCount(this.shape) * DTYPES[this.dtype].bytes;
    if (this.#memory) return this.#memory.part(0, bytes);
    const address = bytes === 0 ? 0n : (this.#runtime.library.functions.TF_TensorData(this.handle) as bigint);
    return new NativeMemory(address, bytes, this);
  }

  /** A copy that outlives this value. */
  toTensor(): Tensor {
    invariant(!this.#isDisposed, "the TfTensor is disposed");
    const count = elementCount(this.shape);
    if (this.dtype === "string") {
      const address = count === 0 ? 0n : (this.#runtime.library.functions.TF_TensorData(this.handle) as bigint);
      return tensor("string", this.shape, readStrings(address, count));
    }
    const { address, byteLength } = this.memory();
    const bytes = new Uint8Array(byteLength);
    if (byteLength > 0) memcpy(addressOf(bytes), address, byteLength);
    return tensor(this.dtype, this.shape, dataFromBytes(this.dtype as NumericDType, bytes) as never);
  }

  /** Releases the value. A second call does nothing. */
  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    forgotten.unregister(this);
    if (this.#pins === 0) release(this.#runtime, this.handle, this.#strings);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal A run begins to use the value. */
  pin(): void {
    invariant(!this.#isDisposed, "the TfTensor is disposed");
    this.#pins++;
  }

  /** @internal The run ended. */
  unpin(): void {
    if (--this.#pins === 0 && this.#isDisposed) release(this.#runtime, this.handle, this.#strings);
  }
}

function allocateTensor(runtime: TfRuntime, dtype: DType, shape: readonly number[], bytes: number): bigint {
  const { TF_AllocateTensor } = runtime.library.functions;
  const handle = TF_AllocateTensor(DTYPES[dtype].tf, shapeCells(shape), shape.length, bytes);
  if (typeof handle !== "bigint") throw refused(dtype, shape, bytes);
  return handle;
}

function refused(dtype: DType, shape: readonly number[], bytes: number): ServingError {
  const text = `TensorFlow refused ${bytes} bytes for a ${dtype} tensor of shape [${shape.join(",")}]`;
  return new ServingError("RESOURCE_EXHAUSTED", text);
}

function shapeCells(shape: readonly number[]): BigInt64Array {
  const cells = new BigInt64Array(Math.max(shape.length, 1));
  for (let i = 0; i < shape.length; i++) cells[i] = BigInt(shape[i]!);
  return cells;
}
