import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { inflateSync } from "node:zlib";
import { ServingError } from "@shardserve/core";
import type { AttrValue } from "@shardserve/graph";
import {
  dataFromBytes,
  type DType,
  isNumeric,
  lanesPerElement,
  newData,
  StringColumn,
  type Tensor,
  tensor,
} from "@shardserve/tensor";

/** A tensor in a golden file: strings as latin-1 texts of their bytes, 16-bit floats as patterns, odd numbers as texts. */
export interface GoldenTensor {
  readonly d: DType;
  readonly s: readonly number[];
  readonly v: readonly (number | string)[];
  /** In place of `v`, base64: the bytes of every string, or of all numbers. */
  readonly b?: readonly string[];
  /** In place of `v`, base64 of the zipped bytes of all numbers. */
  readonly z?: string;
}

export type GoldenAttr = Readonly<Record<string, unknown>>;

/** One recorded run of one op; see scripts/make_op_goldens.py. */
export interface GoldenCase {
  readonly op: string;
  readonly attrs: Readonly<Record<string, GoldenAttr>>;
  readonly inputs: readonly (GoldenTensor | { readonly step: number })[];
  readonly name?: string;
  /** A program: cases that run one after the other on one state. */
  readonly steps?: readonly GoldenCase[];
  /** Contents of the files that a program reads, named "@0", "@1", ... */
  readonly files?: readonly string[];
  readonly outputs?: readonly GoldenTensor[];
  readonly error?: string;
  readonly message?: string;
  readonly tolerance?: number;
  /** The outputs whose values are promised; all where it is absent. */
  readonly only?: readonly number[];
}

export function readGoldens(family: string): GoldenCase[] {
  return JSON.parse(
    readFileSync(new URL(`../../test/goldens/golden-${family}.json`, import.meta.url), "utf8"),
  ) as GoldenCase[];
}

export function fromGolden({ d, s, v, b, z }: GoldenTensor): Tensor {
  if (z !== undefined && isNumeric(d)) {
    return tensor(d, s, dataFromBytes(d, inflateSync(Buffer.from(z, "base64"))) as never);
  }
  if (b && d === "string") return tensor("string", s, StringColumn.from(b.map((text) => Buffer.from(text, "base64"))));
  if (b && isNumeric(d)) return tensor(d, s, dataFromBytes(d, Buffer.from(b[0]!, "base64")) as never);
  if (d === "string")
    return tensor("string", s, StringColumn.from(v.map((text) => Buffer.from(String(text), "latin1"))));
  assert(isNumeric(d), d);
  const data = newData(d, v.length);
  const isWide = d === "int64" || d === "uint64";
  v.forEach((value, i) => {
    (data as unknown as (number | bigint)[])[i] = isWide ? BigInt(value) : Number(value);
  });
  assert.equal(v.length, s.reduce((count, dim) => count * dim, 1) * lanesPerElement(d));
  return tensor(d, s, data as never);
}

/** Fails unless `actual` has the golden's dtype, shape and values (floats within `tolerance`, relative, or the same NaN). */
export function assertTensor(
  actual: Tensor,
  golden: GoldenTensor,
  tolerance: number,
  where: string,
  isOfSums = false,
): void {
  assert.equal(actual.dtype, golden.d, `${where}: dtype`);
  assert.deepEqual(actual.shape, golden.s, `${where}: shape`);
  const expected = fromGolden(golden);
  if (expected.data instanceof StringColumn) {
    const column = actual.data as StringColumn;
    const texts = Array.from({ length: column.length }, (_, i) => Buffer.from(column.at(i)).toString("latin1"));
    const wanted = Array.from({ length: expected.data.length }, (_, i) =>
      Buffer.from((expected.data as StringColumn).at(i)).toString("latin1"),
    );
    assert.deepEqual(texts, wanted, where);
    return;
  }
  const want = expected.data as unknown as ArrayLike<number | bigint>;
  const got = actual.data as unknown as ArrayLike<number | bigint>;
  assert.equal(got.length, want.length, where);
  // Sums of many terms that cancel are as exact as the terms are.
  const least = isOfSums ? Array.from(want, (b) => Math.abs(Number(b))).reduce((x, y) => Math.max(x, y), 1e-30) : 1e-30;
  for (let i = 0; i < want.length; i++) {
    const a = got[i]!;
    const b = want[i]!;
    const isClose =
      typeof a === "number" && typeof b === "number" && isFloat(golden.d)
        ? Math.abs(a - b) <= tolerance * Math.max(Math.abs(b), least)
        : false;
    const isNan = is16Bit(golden.d) && ((Number(a) & Number(b)) | 0x8000) > nanFrom(golden.d);
    assert(Object.is(a, b) || isClose || isNan, `${where}: element ${i} is ${a}, TensorFlow has ${b}`);
  }
}

/** The sign and the payload of a NaN are nobody's promise. */
function nanFrom(dtype: DType): number {
  return dtype === "float16" ? 0xfc00 : 0xff80;
}

function is16Bit(dtype: DType): boolean {
  return dtype === "float16" || dtype === "bfloat16";
}

function isFloat(dtype: DType): boolean {
  return dtype === "float32" || dtype === "float64" || dtype.startsWith("complex");
}

/** Fails unless `error` is a ServingError of the golden's class and, where recorded, text. */
export function assertError(error: unknown, golden: GoldenCase, where: string): void {
  if (!(error instanceof ServingError)) throw new Error(`${where}: ${(error as Error)?.stack}`, { cause: error });
  assert.equal(error.code, golden.error, `${where}: ${error.message}`);
  if (golden.message !== undefined) assert.equal(error.message, golden.message, where);
}

/** The attributes of a golden as the graph package holds them. */
export function attrOf(json: GoldenAttr): AttrValue {
  const [kind, value] = Object.entries(json)[0]!;
  switch (kind) {
    case "s":
      return Buffer.from(value as string, "latin1");
    case "z":
      return inflateSync(Buffer.from(value as string, "base64"));
    case "i":
      return BigInt(value as string);
    case "f":
      return Number(value);
    case "list": {
      const [of, values] = Object.entries(value as Record<string, unknown[]>)[0] ?? ["i", []];
      return values.map((entry) => attrOf({ [of]: entry }));
    }
    default:
      return value as AttrValue;
  }
}
