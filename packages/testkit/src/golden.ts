import { readFileSync } from "node:fs";
import { invariant } from "@shardserve/core";
import {
  bfloatToNumber,
  type DType,
  dtypeFromTf,
  DTYPES,
  elementCount,
  halfToNumber,
  newData,
  numberToBfloat,
  numberToHalf,
  type NumericDType,
  type StringColumn,
  strings,
  type Tensor,
  tensor,
  tfDTypeName,
} from "@shardserve/tensor";

/** One request of a golden file and TensorFlow's answer. */
export interface GoldenCase {
  readonly signature: string;
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** For Regress and Classify: serialised Examples, to be fed to the signature's only input. */
  readonly examples?: Tensor;
  /** Absent when TensorFlow refused the request. */
  readonly outputs?: ReadonlyMap<string, Tensor>;
  /** Another right answer, where TensorFlow itself has two. */
  readonly otherOutputs?: ReadonlyMap<string, Tensor>;
  /** TensorFlow's error; only that it is one, and its class, is stable. */
  readonly error?: string;
  readonly note?: string;
}

/** What real TensorFlow answers for a SavedModel; format in README.md of the shared test data. */
export interface Golden {
  readonly tags: readonly string[];
  /** False when TensorFlow itself cannot load the model and no other truth is recorded. */
  readonly isLoadable: boolean;
  readonly cases: readonly GoldenCase[];
  /** True when answers are those of the first run after a load. */
  readonly isStateful: boolean;
}

interface RawTensor {
  readonly dtype: string;
  readonly shape: number[];
  readonly data?: unknown[];
  /** As TensorFlow Serving's goldens spell `data`; strings are text or {b64}. */
  readonly values?: unknown[];
  readonly b64?: string[];
  readonly tile?: unknown[];
  readonly rle?: unknown[];
}
type RawTensors = Readonly<Record<string, RawTensor>>;
interface RawCase {
  readonly inputs?: RawTensors;
  readonly outputs?: RawTensors;
  readonly outputs_onednn_off?: RawTensors;
  readonly error?: string;
  readonly note?: string;
}
interface RawSignature {
  readonly cases: RawCase[];
  readonly alt?: { readonly cases: RawCase[] };
  readonly stateful?: boolean;
}
interface RawServingCase {
  readonly signature_name: string;
  readonly inputs?: RawTensors;
  readonly serialized_examples_b64?: string[];
  readonly session_run_expected: { readonly outputs?: RawTensors; readonly error?: { readonly message: string } };
  readonly note?: string;
}
interface RawGolden {
  readonly tags?: string[];
  readonly load?: string;
  readonly signatures?: Readonly<Record<string, RawSignature>>;
  readonly cases?: RawServingCase[];
}

/** Reads a golden.json of the zoo, or one of TensorFlow Serving's models. */
export function readGolden(path: string): Golden {
  const raw = JSON.parse(readFileSync(path, "utf8")) as RawGolden;
  if (raw.cases) {
    return { tags: ["serve"], isLoadable: true, cases: raw.cases.map(servingCase), isStateful: false };
  }
  const cases: GoldenCase[] = [];
  let isStateful = false;
  let hasAlternative = false;
  for (const [signature, { cases: own, alt, stateful }] of Object.entries(raw.signatures ?? {})) {
    isStateful ||= stateful === true;
    hasAlternative ||= alt !== undefined;
    for (const item of alt?.cases ?? own) cases.push(zooCase(signature, item));
  }
  return { tags: raw.tags ?? ["serve"], isLoadable: raw.load === "ok" || hasAlternative, cases, isStateful };
}

function zooCase(signature: string, raw: RawCase): GoldenCase {
  return {
    signature,
    inputs: tensors(raw.inputs),
    ...(raw.error === undefined ? { outputs: tensors(raw.outputs) } : { error: raw.error }),
    ...(raw.outputs_onednn_off && { otherOutputs: tensors(raw.outputs_onednn_off) }),
    ...(raw.note !== undefined && { note: raw.note }),
  };
}

function servingCase(raw: RawServingCase): GoldenCase {
  const { outputs, error } = raw.session_run_expected;
  const examples = raw.serialized_examples_b64?.map((text) => Uint8Array.from(Buffer.from(text, "base64")));
  return {
    signature: raw.signature_name,
    inputs: tensors(raw.inputs),
    ...(examples && { examples: strings([examples.length], examples) }),
    ...(error ? { error: error.message } : { outputs: tensors(outputs) }),
    ...(raw.note !== undefined && { note: raw.note }),
  };
}

function tensors(raw: RawTensors | undefined): Map<string, Tensor> {
  return new Map(Object.entries(raw ?? {}).map(([name, value]) => [name, goldenTensor(value)]));
}

const BY_NAME = new Map<string, DType>(Object.values(DTYPES).map((info) => [tfDTypeName(info.name), info.name]));

function goldenTensor(raw: RawTensor): Tensor {
  const dtype = BY_NAME.get(raw.dtype) ?? dtypeFromTf(Number(raw.dtype));
  const count = elementCount(raw.shape);
  if (dtype === "string") {
    const values = raw.b64?.map((text) => Buffer.from(text, "base64")) ?? (raw.values ?? raw.data ?? []).map(toBytes);
    return strings(raw.shape, values);
  }
  const data = newData(dtype as NumericDType, count) as unknown as (number | bigint)[];
  const isBig = dtype === "int64" || dtype === "uint64";
  const narrow = dtype === "float16" ? numberToHalf : dtype === "bfloat16" ? numberToBfloat : undefined;
  const convert = (value: unknown) => (isBig ? BigInt(value as string) : (narrow?.(Number(value)) ?? Number(value)));
  const list = raw.data ?? raw.values;
  if (list) for (let i = 0; i < count; i++) data[i] = convert(list[i]);
  else if (raw.tile) for (let i = 0; i < count; i++) data[i] = convert(raw.tile[i % raw.tile.length]);
  else if (raw.rle) {
    let at = 0;
    for (let i = 0; i < raw.rle.length; i += 2) {
      for (let k = 0; k < Number(raw.rle[i + 1]); k++) data[at++] = convert(raw.rle[i]);
    }
  } else invariant(count === 0, `a golden tensor of shape [${raw.shape.join(",")}] without data`);
  return tensor(dtype, raw.shape, data as never);
}

function toBytes(value: unknown): Uint8Array {
  const { b64 } = value as { b64?: string };
  return b64 === undefined ? Buffer.from(String(value)) : Buffer.from(b64, "base64");
}

/**
 * Allowed distance of floats, as a part of the largest magnitude in the expected tensor, at least of 1. 16-bit floats may
 * be off by one step: TensorFlow itself rounds between ops or not, as its graph optimiser fuses them.
 */
const TOLERANCES: Partial<Record<DType, number>> = {
  float32: 1e-5,
  float64: 1e-12,
  float16: 2 ** -10,
  bfloat16: 2 ** -7,
};

/**
 * How an answer differs from TensorFlow's, undefined when it does not: floats within a part of the tensor's largest
 * magnitude (at least 1), everything else exact. NaN equals NaN.
 */
export function goldenDifference(actual: Tensor | undefined, expected: Tensor): string | undefined {
  if (!actual) return "is missing";
  if (actual.dtype !== expected.dtype) return `is ${actual.dtype} instead of ${expected.dtype}`;
  if (actual.shape.join() !== expected.shape.join()) {
    return `has shape [${actual.shape.join()}] instead of [${expected.shape.join()}]`;
  }
  if (expected.dtype === "string") return stringDifference(actual.data as StringColumn, expected.data as StringColumn);
  const [a, e] = [numbersOf(actual), numbersOf(expected)];
  const tolerance = TOLERANCES[expected.dtype];
  let scale = 1;
  if (tolerance !== undefined)
    for (const value of e) if (Number.isFinite(value)) scale = Math.max(scale, Math.abs(value));
  for (let i = 0; i < e.length; i++) {
    if (a[i] === e[i] || Object.is(a[i], e[i])) continue;
    if (tolerance !== undefined && Math.abs(a[i]! - e[i]!) <= tolerance * scale) continue;
    return `element ${i} is ${a[i]} instead of ${e[i]}`;
  }
  return undefined;
}

/** 16-bit floats are stored as bit patterns. */
function numbersOf({ dtype, data }: Tensor): Float32Array {
  if (dtype === "float16") return Float32Array.from(data as Uint16Array, halfToNumber);
  if (dtype === "bfloat16") return Float32Array.from(data as Uint16Array, bfloatToNumber);
  return data as Float32Array;
}

function stringDifference(actual: StringColumn, expected: StringColumn): string | undefined {
  for (let i = 0; i < expected.length; i++) {
    if (Buffer.compare(actual.at(i), expected.at(i)) !== 0) {
      return `element ${i} is "${actual.textAt(i)}" instead of "${expected.textAt(i)}"`;
    }
  }
  return undefined;
}
