import { invariant, ServingError } from "@shardserve/core";
import {
  type DataOf,
  type DType,
  DTYPES,
  dataFromBytes,
  elementCount,
  isNumeric,
  lanesPerElement,
  newData,
  type NumericData,
  type NumericDType,
  StringColumn,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import { memcpy } from "../memory/libc.js";
import { addressOf, NativeMemory } from "../memory/native-memory.js";
import { cellKey, type SmallCell, SmallCells } from "./small-cells.js";
import { checkStatus, type OrtRuntime, ortRuntime, outInt, outPointer } from "./ort-runtime.js";

/** dtype of an ONNX element type; ONNX has no quantised types, so plain integers stand for them. */
const BY_ONNX = new Map<number, DType>();
for (const info of Object.values(DTYPES)) {
  if (info.onnx !== 0 && !/^qu?int/.test(info.name)) BY_ONNX.set(info.onnx, info.name);
}

/** @returns undefined for an ONNX element type that tensors do not have (float8, int4) */
export function dtypeOfElements(onnx: number): DType | undefined {
  return BY_ONNX.get(onnx);
}

/** @throws ServingError UNIMPLEMENTED for an ONNX element type that tensors do not have (float8, int4) */
function dtypeFromOnnx(onnx: number): DType {
  const dtype = dtypeOfElements(onnx);
  if (!dtype) throw new ServingError("UNIMPLEMENTED", `ONNX element type ${onnx} is not supported`);
  return dtype;
}

/**
 * Releases memory of ORT's that was forgotten. A net, not the way: the collector knows nothing of the size behind a handle. Aliases of our
 * memory are not in it: the handle alone is a hundred bytes, and the registry costs more than making the value.
 */
const forgotten = new FinalizationRegistry<bigint>((handle) => release(ortRuntime(), handle));

function release(runtime: OrtRuntime, handle: bigint): void {
  free(runtime, handle);
  runtime.live.values--;
}

function free({ library }: OrtRuntime, handle: bigint): void {
  library.functions.ReleaseValue(handle);
}

/** They are not among the live values: nobody holds them. */
const cells = new SmallCells(({ handle }) => free(ortRuntime(), handle));

/** A cell with memory of its own, like `like`. */
function makeCell(
  runtime: OrtRuntime,
  key: number,
  dtype: NumericDType,
  shape: readonly number[],
  like: NumericData,
): SmallCell {
  const data = new (like.constructor as new (length: number) => NumericData)(like.length);
  return { key, handle: wrap(runtime, dtype, shape, data), data };
}

/** An OrtValue over memory of ours. */
function wrap(
  { library, cpuMemory }: OrtRuntime,
  dtype: NumericDType,
  shape: readonly number[],
  memory: ArrayBufferView | NativeMemory,
): bigint {
  const info = DTYPES[dtype];
  const bytes = elementCount(shape) * info.bytes;
  invariant(
    bytes <= memory.byteLength,
    () => `${dtype} tensor of shape [${shape.join(",")}] needs ${bytes} bytes, the memory has ${memory.byteLength}`,
  );
  const address = memory instanceof NativeMemory ? memory.address : addressOf(memory);
  return outPointer(library, "wrap a tensor", (out) =>
    library.functions.CreateTensorWithDataAsOrtValue(
      cpuMemory,
      address === 0n ? addressOf(EMPTY) : address,
      bytes,
      shapeCells(shape),
      shape.length,
      info.onnx,
      out,
    ),
  );
}

/** Where pointers to nothing point: ORT refuses null data even for empty tensors. */
const EMPTY = new Uint8Array(64);

/**
 * A tensor that ONNX Runtime can read or write.
 *
 * Either it aliases memory of ours ({@link overMemory}), or ORT owns its memory ({@link strings}, outputs of a run).
 * `dispose()` ends it; inside a run that still uses it, the end waits for the run.
 */
export class OrtValue implements Disposable {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** @internal address of the OrtValue */
  readonly handle: bigint;
  readonly #runtime: OrtRuntime;
  /** Keeps aliased memory reachable: the collector must not free it under ORT. */
  readonly #memory: ArrayBufferView | NativeMemory | undefined;
  /** Whose handle it is, where another value may have it afterwards. */
  readonly #cell: SmallCell | undefined;
  #pins = 0;
  #isDisposed = false;

  private constructor(
    runtime: OrtRuntime,
    handle: bigint,
    dtype: DType,
    shape: readonly number[],
    memory?: ArrayBufferView | NativeMemory,
    cell?: SmallCell,
  ) {
    this.#cell = cell;
    this.#runtime = runtime;
    this.handle = handle;
    this.dtype = dtype;
    this.shape = shape;
    this.#memory = memory;
    runtime.live.values++;
    if (memory === undefined) forgotten.register(this, handle, this);
  }

  /**
   * A tensor over memory of the caller: no copy, in either direction. The memory stays reachable until `dispose()`,
   * but a mapping may still be closed too early: close it after.
   *
   * @param memory  at least the tensor's bytes, row-major; SharedArrayBuffers are fine. Kernels read faster when it is
   *   aligned to 64 bytes and expect it aligned to the element
   */
  static overMemory(dtype: NumericDType, shape: readonly number[], memory: ArrayBufferView | NativeMemory): OrtValue {
    const runtime = ortRuntime();
    return new OrtValue(runtime, wrap(runtime, dtype, shape, memory), dtype, shape, memory);
  }

  /** A tensor over the data of `value`: an alias for numbers, a copy for strings. */
  static fromTensor(value: Tensor): OrtValue {
    if (value.dtype === "string") return OrtValue.strings(value.data as StringColumn, value.shape);
    invariant(isNumeric(value.dtype), () => `a ${value.dtype} tensor has no place in ONNX Runtime`);
    return OrtValue.overMemory(value.dtype, value.shape, value.data as DataOf[NumericDType]);
  }

  /**
   * A tensor to feed to a run: as {@link fromTensor}, but a few numbers are copied. Making a value costs about a microsecond, and a
   * run may be fed with a hundred; small ones are kept for the next run.
   */
  static forRun(value: Tensor): OrtValue {
    const { dtype, shape, data } = value;
    const key = isNumeric(dtype) ? cellKey(dtype, shape) : -1;
    if (key < 0 || !isNumeric(dtype)) return OrtValue.fromTensor(value);
    const length = elementCount(shape) * lanesPerElement(dtype);
    invariant(data.length === length, () => `${data.length} elements for shape [${shape.join(",")}]`);
    const runtime = ortRuntime();
    const cell = cells.take(key) ?? makeCell(runtime, key, dtype, shape, data as NumericData);
    cell.data.set(data as never);
    return new OrtValue(runtime, cell.handle, dtype, shape, cell.data, cell);
  }

  /** A string tensor with copies of the column's bytes; any bytes, NUL included. */
  static strings(column: StringColumn, shape: readonly number[]): OrtValue {
    invariant(column.length === elementCount(shape), () => `${column.length} strings for shape [${shape.join(",")}]`);
    const runtime = ortRuntime();
    const { CreateTensorAsOrtValue } = runtime.library.functions;
    const handle = outPointer(runtime.library, "make a string tensor", (out) =>
      CreateTensorAsOrtValue(runtime.allocator, shapeCells(shape), shape.length, DTYPES.string.onnx, out),
    );
    const value = new OrtValue(runtime, handle, "string", shape);
    try {
      value.#fill(column);
    } catch (error) {
      value.dispose();
      throw error;
    }
    return value;
  }

  /**
   * @internal Takes over a handle that ORT made.
   *
   * @param declared  dtype where it is known to be a tensor of that
   */
  static adopt(runtime: OrtRuntime, handle: bigint, declared?: DType): OrtValue {
    try {
      const { dtype, shape } = describe(runtime, handle, declared);
      return new OrtValue(runtime, handle, dtype, shape);
    } catch (error) {
      runtime.library.functions.ReleaseValue(handle);
      throw error;
    }
  }

  /** Bytes of a numeric tensor. */
  get byteLength(): number {
    return elementCount(this.shape) * DTYPES[this.dtype].bytes;
  }

  /** The memory under a numeric tensor, wherever it lives; valid until `dispose()`. */
  memory(): NativeMemory {
    invariant(!this.#isDisposed, "the OrtValue is disposed");
    invariant(isNumeric(this.dtype), "strings have no plain memory");
    if (this.#memory instanceof NativeMemory) return this.#memory.part(0, this.byteLength);
    const { GetTensorMutableData } = this.#runtime.library.functions;
    const address = outPointer(this.#runtime.library, "find a tensor's memory", (out) =>
      GetTensorMutableData(this.handle, out),
    );
    return new NativeMemory(address, this.byteLength, this);
  }

  /** Typed array over the tensor's memory, at most 2 GiB; valid until `dispose()`: a later look crashes. */
  view<D extends NumericDType = NumericDType>(): DataOf[D] {
    return dataFromBytes(this.dtype as D, this.memory().bytes);
  }

  /** A copy that outlives this value. */
  toTensor(): Tensor {
    if (this.dtype === "string") return tensor("string", this.shape, this.#strings());
    // Not by a view: V8 would make a buffer for it, and one more for the copy.
    const data = newData(this.dtype as NumericDType, elementCount(this.shape) * lanesPerElement(this.dtype));
    if (data.byteLength > 0) memcpy(addressOf(data), this.memory().address, data.byteLength);
    return tensor(this.dtype, this.shape, data as never);
  }

  /** Releases the value, and the memory that ORT owns for it. A second call does nothing. */
  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    if (this.#memory === undefined) forgotten.unregister(this);
    if (this.#pins === 0) this.#release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal A run begins to use the value. */
  pin(): void {
    invariant(!this.#isDisposed, "the OrtValue is disposed");
    this.#pins++;
  }

  /** @internal The run ended. */
  unpin(): void {
    if (--this.#pins === 0 && this.#isDisposed) this.#release();
  }

  #release(): void {
    if (!this.#cell) return release(this.#runtime, this.handle);
    cells.give(this.#cell);
    this.#runtime.live.values--;
  }

  #fill(column: StringColumn): void {
    if (column.length === 0) return;
    const { library } = this.#runtime;
    const { FillStringTensor, GetResizedStringTensorElementBuffer } = library.functions;
    const used = column.bytes.subarray(0, column.offsets[column.length]!);
    if (!used.includes(0)) {
      const { texts, pointers } = cStrings(column);
      checkStatus(library, FillStringTensor(this.handle, pointers, column.length), "fill a string tensor");
      invariant(texts.length > 0, "texts outlive the call");
      return;
    }
    const from = addressOf(column.bytes);
    for (let i = 0; i < column.length; i++) {
      const start = column.offsets[i]!;
      const length = column.offsets[i + 1]! - start;
      const to = outPointer(library, "size a string", (out) =>
        GetResizedStringTensorElementBuffer(this.handle, i, length, out),
      );
      if (length > 0) memcpy(to, from + BigInt(start), length);
    }
  }

  #strings(): StringColumn {
    const { library } = this.#runtime;
    const count = elementCount(this.shape);
    const offsets = new Uint32Array(count + 1);
    if (count === 0) return new StringColumn(new Uint8Array(0), offsets);
    const total = Number(
      outPointer(library, "measure strings", (out) => library.functions.GetStringTensorDataLength(this.handle, out)),
    );
    invariant(total < 2 ** 32, "a string tensor holds at most 4 GiB");
    const bytes = new Uint8Array(total);
    const starts = new BigUint64Array(count);
    checkStatus(
      library,
      library.functions.GetStringTensorContent(this.handle, total === 0 ? EMPTY : bytes, total, starts, count),
      "read strings",
    );
    const lanes = new Uint32Array(starts.buffer);
    for (let i = 0; i < count; i++) offsets[i] = lanes[2 * i]!;
    offsets[count] = total;
    return new StringColumn(bytes, offsets);
  }
}

/** TensorFlow's tensors have no more dimensions, and requests decide how many: ONNX Runtime itself has no bound. */
const RANK_MAX = 254;
/** Reused: C copies a shape, and calls on this thread never nest. */
const shapeLanes = new Int32Array(2 * RANK_MAX);

/** The shape as int64, valid until the next call. */
function shapeCells(shape: readonly number[]): Int32Array {
  invariant(shape.length <= RANK_MAX, () => `rank ${shape.length}`);
  for (let i = 0; i < shape.length; i++) {
    shapeLanes[2 * i] = shape[i]!;
    shapeLanes[2 * i + 1] = Math.floor(shape[i]! / 2 ** 32);
  }
  return shapeLanes;
}

/** NUL-terminated copies in one buffer, and their addresses. */
function cStrings(column: StringColumn): { texts: Uint8Array; pointers: BigUint64Array } {
  const texts = new Uint8Array(column.offsets[column.length]! - column.offsets[0]! + column.length);
  const pointers = new BigUint64Array(column.length);
  const base = addressOf(texts);
  let at = 0;
  for (let i = 0; i < column.length; i++) {
    pointers[i] = base + BigInt(at);
    const bytes = column.at(i);
    texts.set(bytes, at);
    at += bytes.length + 1;
  }
  return { texts, pointers };
}

function describe(runtime: OrtRuntime, handle: bigint, declared: DType | undefined): { dtype: DType; shape: number[] } {
  const { library } = runtime;
  const { GetValueType, GetTensorTypeAndShape, ReleaseTensorTypeAndShapeInfo } = library.functions;
  if (declared === undefined) {
    const kind = outInt(library, "read a value's type", (out) => GetValueType(handle, out));
    if (kind !== 1) throw new ServingError("UNIMPLEMENTED", `an output is no tensor (ONNX value kind ${kind})`);
  }
  const info = outPointer(library, "read a tensor's shape", (out) => GetTensorTypeAndShape(handle, out));
  try {
    return { dtype: declared ?? dtypeFromOnnx(elementTypeOf(runtime, info)), shape: dimsOf(runtime, info) };
  } finally {
    ReleaseTensorTypeAndShapeInfo(info);
  }
}

/** @internal ONNX element type of an OrtTensorTypeAndShapeInfo. */
export function elementTypeOf({ library }: OrtRuntime, info: bigint): number {
  return outInt(library, "read an element type", (out) => library.functions.GetTensorElementType(info, out));
}

/** @internal Dimensions of an OrtTensorTypeAndShapeInfo, -1 = symbolic. */
export function dimsOf({ library }: OrtRuntime, info: bigint): number[] {
  const { GetDimensionsCount, GetDimensions } = library.functions;
  const rank = Number(outPointer(library, "read a rank", (out) => GetDimensionsCount(info, out)));
  if (rank === 0) return [];
  invariant(rank <= RANK_MAX, () => `rank ${rank}`);
  checkStatus(library, GetDimensions(info, shapeLanes, rank), "read dimensions");
  return Array.from({ length: rank }, (_, i) => shapeLanes[2 * i + 1]! * 2 ** 32 + (shapeLanes[2 * i]! >>> 0));
}
