import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { ServingError } from "@shardserve/core";
import { type OpGoldenTensor, opGoldenTensor } from "@shardserve/testkit";
import { type DType, StringColumn, type Tensor } from "@shardserve/tensor";

/** One recorded run of one op; see scripts/make_op_goldens.py. */
export interface GoldenCase {
  readonly op: string;
  readonly attrs: Readonly<Record<string, unknown>>;
  readonly inputs: readonly (OpGoldenTensor | { readonly step: number })[];
  readonly name?: string;
  /** A program: cases that run one after the other on one state. */
  readonly steps?: readonly GoldenCase[];
  /** Contents of the files that a program reads, named "@0", "@1", ... */
  readonly files?: readonly string[];
  readonly outputs?: readonly OpGoldenTensor[];
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

/** Fails unless `actual` has the golden's dtype, shape and values (floats within `tolerance`, relative, or the same NaN). */
export function assertTensor(
  actual: Tensor,
  golden: OpGoldenTensor,
  tolerance: number,
  where: string,
  isOfSums = false,
): void {
  const expected = opGoldenTensor(golden);
  assert.equal(actual.dtype, expected.dtype, `${where}: dtype`);
  assert.deepEqual(actual.shape, golden.s, `${where}: shape`);
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
      typeof a === "number" && typeof b === "number" && isFloat(expected.dtype)
        ? Math.abs(a - b) <= tolerance * Math.max(Math.abs(b), least)
        : false;
    const isNan = is16Bit(expected.dtype) && ((Number(a) & Number(b)) | 0x8000) > nanFrom(expected.dtype);
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
