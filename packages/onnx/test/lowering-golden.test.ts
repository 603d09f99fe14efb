import assert from "node:assert/strict";
import { ServingError } from "@shardserve/core";
import { deviceSupports } from "@shardserve/onnx";
import type { Tensor } from "@shardserve/tensor";
import { answer, build, type GoldenCase, goldenCases, KNOWLEDGE } from "./golden-cases.js";
import { opGoldenTensor } from "@shardserve/testkit";

/** Replays what TensorFlow answered for single ops (scripts/make_lowering_goldens.py) through lowering and ONNX Runtime. */

/** Nodes that have no exact way to ONNX and belong on the host, with static shapes too: op -> why. */
const REFUSED: Readonly<Record<string, RegExp>> = {
  Tan: /float64/,
  Atan: /float64/,
  Asin: /float64/,
  Acos: /float64/,
  Sinh: /float64/,
  Cosh: /float64/,
  Asinh: /float64/,
  Acosh: /float64/,
  Atanh: /float64/,
  Atan2: /float64/,
  Erf: /float64/,
  Erfc: /float64/,
  Sum: /not constant/,
  Max: /uint64|not constant/,
  Min: /uint64|not constant/,
  Mean: /integers|not constant/,
  Prod: /integers|not constant/,
  EuclideanNorm: /not constant/,
  All: /not constant/,
  Any: /not constant/,
  Unique: /NaN/,
  UniqueV2: /NaN/,
  UniqueWithCounts: /NaN/,
  StridedSlice: /backward slice from/,
  Round: /integers/,
  Einsum: /int/,
  SegmentMean: /int/,
  MatMul: /no matrix/,
  XlaDynamicSlice: /no vector/,
  ArgMax: /uint64/,
  ArgMin: /uint64/,
  TopKV2: /uint64/,
  Pow: /integer/,
  Slice: /negative start/,
  MatrixBandPart: /bool/,
};

/** float16 as a number, for comparing. */
function halfToNumber(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  const sign = bits >> 15 ? -1 : 1;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15));
}

const TOLERANCE: Record<string, number> = { float32: 1e-5, float64: 1e-9, float16: 4e-3, bfloat16: 1e-2 };

function assertClose(actual: Tensor, expected: Tensor): void {
  assert.equal(actual.dtype, expected.dtype);
  assert.deepEqual([...actual.shape], [...expected.shape]);
  const tolerance = TOLERANCE[expected.dtype];
  if (tolerance === undefined) {
    assert.deepEqual([...(actual.data as Int32Array)], [...(expected.data as Int32Array)]);
    return;
  }
  const numbers = (value: Tensor) => {
    const list = [...(value.data as Float32Array)];
    if (value.dtype === "bfloat16") return list.map((bits) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!);
    return value.dtype === "float16" ? list.map(halfToNumber) : list;
  };
  const [a, e] = [numbers(actual), numbers(expected)];
  const scale = Math.max(1, ...e.filter(Number.isFinite).map(Math.abs));
  for (let i = 0; i < e.length; i++) {
    const isSame = Object.is(a[i], e[i]) || a[i] === e[i] || Math.abs(a[i]! - e[i]!) <= tolerance * scale;
    assert.ok(isSame, `element ${i}: ${a[i]} instead of ${e[i]}`);
  }
}

for (const [family, cases] of goldenCases()) {
  const byOp = new Map<string, GoldenCase[]>();
  for (const golden of cases) byOp.set(golden.op, [...(byOp.get(golden.op) ?? []), golden]);
  describe(`lowering against TensorFlow: ${family}`, () => {
    for (const [op, goldens] of byOp) {
      it(op, async () => {
        const wrong: string[] = [];
        for (const [i, golden] of goldens.entries()) {
          for (const knowledge of KNOWLEDGE) {
            const { step, infos, fed, node, context, wanted } = build(golden, knowledge);
            const label = `${op}[${i}] ${knowledge} ${JSON.stringify(golden.attrs)} ${golden.in.map((t) => `${t.d}[${t.s.join()}]`).join()}`;
            const supported = deviceSupports(node, context);
            if (supported !== true) {
              const isExpected = knowledge !== "static shapes" || REFUSED[op]?.test(supported);
              if (!isExpected) wrong.push(`${label}: refused: ${supported}`);
              continue;
            }
            try {
              const outputs = await answer(step, infos, fed);
              if (golden.error) wrong.push(`${label}: must fail`);
              else
                for (const [k, index] of wanted.entries())
                  assertClose(outputs[k]!, opGoldenTensor(golden.out![index]!));
            } catch (error) {
              const isExpected = golden.error && error instanceof ServingError && error.code === "ENGINE_FAILED";
              if (!isExpected) wrong.push(`${label}: ${(error as Error).message}`);
            }
          }
        }
        assert.deepEqual(wrong, []);
      });
    }
  });
}
