/** ParseExample and its kin: serialized tf.Example messages to columns. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { type DType, elementCount, type StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { reshaped, withData } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { BytesIndex } from "../call/key-index.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { denseColumn, type FeatureRanges, paddedColumn, raggedColumn, sparseColumn } from "./example-columns.js";
import { scanExample } from "./example-wire.js";

const decoder = new TextDecoder();

interface SparseSpec {
  readonly key: Uint8Array;
  readonly dtype: DType;
}

interface DenseSpec {
  readonly key: Uint8Array;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly fallback: Tensor;
}

interface RaggedSpec {
  readonly key: Uint8Array;
  readonly dtype: DType;
  readonly splitDtype: DType;
}

interface ParseSpec {
  readonly sparse: readonly SparseSpec[];
  readonly dense: readonly DenseSpec[];
  readonly ragged: readonly RaggedSpec[];
}

interface Parsed {
  readonly sparse: { indices: Tensor; values: Tensor; shape: Tensor }[];
  readonly dense: Tensor[];
  readonly ragged: { values: Tensor; splits: Tensor }[];
}

/** A batch larger than this is parsed in slices, with other work of the event loop between them. */
const BYTES_PER_TURN = 1 << 19;

function isVariable(shape: readonly number[]): boolean {
  return shape[0] === -1;
}

function checkSpec(spec: ParseSpec): void {
  spec.dense.forEach(({ dtype, shape, fallback }, d) => {
    const key = () => decoder.decode(spec.dense[d]!.key);
    check(
      fallback.dtype === dtype,
      () => `dense_defaults[${d}] (${key()}) must have type ${dtype}, got ${fallback.dtype}`,
    );
    const size = elementCount(fallback.shape);
    if (isVariable(shape)) {
      check(
        size === 1,
        () =>
          `dense_shape[${d}] is a variable length shape: ${printShape(shape).replaceAll("-1", "?")}, therefore def_value[${d}] must contain a single element (the padding element).  But its shape is: ${printShape(fallback.shape)}`,
      );
    } else if (size > 0) {
      check(
        printShape(fallback.shape) === printShape(shape),
        () => `def_value[${d}].shape() == ${printShape(fallback.shape)} != dense_shapes_[${d}] == ${printShape(shape)}`,
      );
    }
    check(
      shape.slice(1).every((dim) => dim >= 0),
      () => `dense_shapes[${d}] has an unknown dimension behind the first: ${printShape(shape)}`,
    );
  });
}

/**
 * Parses a batch.
 *
 * @throws ServingError INVALID_ARGUMENT with TensorFlow's texts
 */
async function parse(column: StringColumn, names: StringColumn | undefined, spec: ParseSpec): Promise<Parsed> {
  checkSpec(spec);
  const keys = new BytesIndex();
  const ordinals = (features: readonly { key: Uint8Array }[]) =>
    features.map(({ key }) => keys.add(key, 0, key.length));
  const [sparseAt, denseAt, raggedAt] = [ordinals(spec.sparse), ordinals(spec.dense), ordinals(spec.ragged)];
  const { bytes, offsets, length } = column;
  const perExample = keys.count;
  checkOutput("int64", length * perExample);
  const starts = new Uint32Array(length * perExample);
  const ends = new Uint32Array(length * perExample);
  const isLarge = bytes.length > BYTES_PER_TURN;
  for (let e = 0, turnAt = offsets[0]!; e < length; e++) {
    if (!scanExample(bytes, offsets[e]!, offsets[e + 1]!, keys, starts, ends, e * perExample)) {
      throw invalid(`Could not parse example input, value: '${column.textAt(e)}'`);
    }
    if (isLarge && offsets[e + 1]! - turnAt > BYTES_PER_TURN) {
      turnAt = offsets[e + 1]!;
      await nextTurn();
    }
  }
  const rangesOf = (key: Uint8Array, ordinal: number): FeatureRanges => ({
    key: decoder.decode(key),
    bytes,
    count: length,
    start: (e) => starts[e * perExample + ordinal]!,
    end: (e) => ends[e * perExample + ordinal]!,
    exampleName: (e) => (names && e < names.length ? names.textAt(e) : "<unknown>"),
  });
  const parsed: Parsed = { sparse: [], dense: [], ragged: [] };
  for (const [d, { key, dtype, shape, fallback }] of spec.dense.entries()) {
    const ranges = rangesOf(key, denseAt[d]!);
    parsed.dense.push(
      isVariable(shape)
        ? paddedColumn(ranges, dtype, shape.slice(1), fallback)
        : denseColumn(ranges, dtype, shape, fallback),
    );
    if (isLarge) await nextTurn();
  }
  for (const [s, { key, dtype }] of spec.sparse.entries()) {
    parsed.sparse.push(sparseColumn(rangesOf(key, sparseAt[s]!), dtype));
    if (isLarge) await nextTurn();
  }
  for (const [r, { key, dtype, splitDtype }] of spec.ragged.entries()) {
    parsed.ragged.push(raggedColumn(rangesOf(key, raggedAt[r]!), dtype, splitDtype));
    if (isLarge) await nextTurn();
  }
  return parsed;
}

function outputs({ sparse, dense, ragged }: Parsed): Tensor[] {
  return [
    ...sparse.map(({ indices }) => indices),
    ...sparse.map(({ values }) => values),
    ...sparse.map(({ shape }) => shape),
    ...dense,
    ...ragged.map(({ values }) => values),
    ...ragged.map(({ splits }) => splits),
  ];
}

function keysOf(value: Tensor): Uint8Array[] {
  const column = value.data as StringColumn;
  return Array.from({ length: column.length }, (_, i) => column.at(i));
}

function denseSpecs(op: OpCall, keys: readonly Uint8Array[], defaults: readonly Tensor[]): DenseSpec[] {
  const types = op.attrs.dtypes("Tdense");
  const shapes = op.attrs.shapes("dense_shapes");
  return keys.map((key, d) => ({ key, dtype: types[d]!, shape: shapes[d] ?? [], fallback: defaults[d]! }));
}

function namesOf(op: OpCall, count: number): StringColumn | undefined {
  const names = op.strings(1);
  check(
    names.length === 0 || names.length === count,
    () => `Expected len(names) == len(serialized), but got: ${names.length} vs. ${count}`,
  );
  return names.length > 0 ? names : undefined;
}

async function parseExample(op: OpCall): Promise<Tensor[]> {
  const serialized = op.tensor(0);
  check(
    serialized.shape.length === 1,
    () => `Expected serialized to be a vector, got shape: ${printShape(serialized.shape)}`,
  );
  const sparseCount = op.attrs.int("Nsparse");
  const denseCount = op.attrs.int("Ndense");
  const sparseTypes = op.attrs.dtypes("sparse_types");
  const sparseKeys = op.tensors(2, 2 + sparseCount).flatMap(keysOf);
  const denseKeys = op.tensors(2 + sparseCount, 2 + sparseCount + denseCount).flatMap(keysOf);
  const column = op.strings(0);
  const parsed = await parse(column, namesOf(op, column.length), {
    sparse: sparseKeys.map((key, s) => ({ key, dtype: sparseTypes[s]! })),
    dense: denseSpecs(op, denseKeys, op.tensors(2 + sparseCount + denseCount)),
    ragged: [],
  });
  return outputs(parsed);
}

async function parseExampleV2(op: OpCall): Promise<Tensor[]> {
  const serialized = op.tensor(0);
  check(
    serialized.shape.length <= 1,
    () => `Expected serialized to be a scalar or vector, got shape: ${printShape(serialized.shape)}`,
  );
  const sparseTypes = op.attrs.dtypes("sparse_types");
  const raggedTypes = op.attrs.dtypes("ragged_value_types");
  const splitTypes = op.attrs.dtypes("ragged_split_types");
  const column = op.strings(0);
  const parsed = await parse(column, namesOf(op, column.length), {
    sparse: keysOf(op.tensor(2)).map((key, s) => ({ key, dtype: sparseTypes[s]! })),
    dense: denseSpecs(op, keysOf(op.tensor(3)), op.tensors(5)),
    ragged: keysOf(op.tensor(4)).map((key, r) => ({ key, dtype: raggedTypes[r]!, splitDtype: splitTypes[r]! })),
  });
  return outputs(serialized.shape.length === 0 ? withoutBatch(parsed) : parsed);
}

/** One example's columns without the dim of the batch. */
function withoutBatch(parsed: Parsed): Parsed {
  return {
    sparse: parsed.sparse.map(({ values, shape }) => {
      const count = values.shape[0]!;
      const flat = fromIntegers(Float64Array.from({ length: count }, (_, i) => i));
      return {
        indices: tensor("int64", [count, 1], flat),
        values,
        shape: tensor("int64", [1], (shape.data as BigInt64Array).slice(1)),
      };
    }),
    dense: parsed.dense.map((value) => reshaped(value, value.shape.slice(1))),
    // TensorFlow gives no row splits for a single example.
    ragged: parsed.ragged.map(({ values, splits }) => ({
      values,
      splits: withData(splits.dtype, [0], splits.dtype === "int64" ? new BigInt64Array(0) : new Int32Array(0)),
    })),
  };
}

async function parseSingleExample(op: OpCall): Promise<Tensor[]> {
  check(
    op.tensor(0).shape.length === 0,
    () => `Expected serialized to be a scalar, got shape: ${printShape(op.tensor(0).shape)}`,
  );
  const sparseTypes = op.attrs.dtypes("sparse_types");
  const parsed = await parse(op.strings(0), undefined, {
    sparse: op.attrs.byteStrings("sparse_keys").map((key, s) => ({ key, dtype: sparseTypes[s]! })),
    dense: denseSpecs(op, op.attrs.byteStrings("dense_keys"), op.tensors(1)),
    ragged: [],
  });
  return outputs(withoutBatch(parsed));
}

export const PARSE_KERNELS: Readonly<Record<string, Kernel>> = {
  ParseExample: parseExample,
  ParseExampleV2: parseExampleV2,
  ParseSingleExample: parseSingleExample,
};
