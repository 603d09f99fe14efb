import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ServingError } from "@shardserve/core";
import {
  Attrs,
  type AttrValue,
  type DeviceStep,
  type GraphNode,
  opDef,
  refKey,
  type ValueInfo,
} from "@shardserve/graph";
import { loadOrt, OrtValue } from "@shardserve/native";
import {
  bytesOf,
  dataFromBytes,
  dtypeFromTf,
  dtypeInfo,
  type NumericData,
  type NumericDType,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import { deviceSupports, lowerSegment, permuteBytes } from "@shardserve/onnx";

/** Replays what TensorFlow answered for single ops (scripts/make_lowering_goldens.py) through lowering and ONNX Runtime. */

interface GoldenTensor {
  readonly d: number;
  readonly s: number[];
  readonly b: string;
  readonly c?: 1;
}
interface GoldenCase {
  readonly op: string;
  readonly attrs: Record<string, AttrValue>;
  readonly in: GoldenTensor[];
  readonly out?: GoldenTensor[];
  readonly error?: 1;
  readonly only?: number[];
}

/** How much the compiler knows about shapes: a lowering must be right, or say no, in all three. */
const KNOWLEDGE = ["static shapes", "ranks only", "nothing"] as const;
type Knowledge = (typeof KNOWLEDGE)[number];

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
  Max: /uint64/,
  Min: /uint64/,
  Mean: /integers/,
  Prod: /integers/,
  Round: /integers/,
  Einsum: /int/,
  SegmentMean: /int/,
  MaxPool: /strides beyond/,
  AvgPool: /strides beyond/,
  Conv2D: /strides beyond/,
  DepthwiseConv2dNative: /strides beyond/,
  MatMul: /no matrix/,
  ArgMax: /uint64/,
  ArgMin: /uint64/,
  TopKV2: /uint64/,
  Pow: /integer/,
  Slice: /negative start/,
  MatrixBandPart: /bool/,
};

/** Convolutions whose groups or sizes are ambiguous without shapes: the guess is checked, so they fail instead of answering wrongly. */
const FAILS_UNKNOWN = new Set(["Conv2D", "Conv2DBackpropInput"]);

const ROOT = join(import.meta.dirname, "../../test/goldens");

function decode(golden: GoldenTensor): Tensor {
  const dtype = dtypeFromTf(golden.d) as NumericDType;
  return tensor(dtype, golden.s, dataFromBytes(dtype, Uint8Array.from(Buffer.from(golden.b, "base64"))) as never);
}

function build(golden: GoldenCase, knowledge: Knowledge) {
  const infos = new Map<string, ValueInfo>();
  const nodes: GraphNode[] = [];
  const fed: Tensor[] = [];
  const inputs = golden.in.map((entry, i) => {
    const value = decode(entry);
    const ref = { node: `in${i}`, index: 0 };
    const shape =
      knowledge === "static shapes" ? entry.s : knowledge === "ranks only" ? entry.s.map(() => -1) : undefined;
    infos.set(refKey(ref), { dtype: value.dtype, shape: entry.c ? entry.s : shape });
    if (entry.c) {
      const attrs = new Attrs("Const", { value, dtype: entry.d });
      nodes.push({ name: ref.node, op: "Const", inputs: [], controls: [], attrs });
    } else {
      fed.push(value);
    }
    return { ref, isFed: !entry.c };
  });
  const node = {
    name: "node",
    op: golden.op,
    inputs: inputs.map((input) => input.ref),
    controls: [],
    attrs: new Attrs(golden.op, golden.attrs),
  };
  const outputCount = golden.out?.length ?? opDef(golden.op)!.outputs.length;
  for (let index = 0; index < outputCount; index++) {
    const expected = golden.out?.[index];
    const dtype = expected ? dtypeFromTf(expected.d) : decode(golden.in.at(-1)!).dtype;
    const shape = expected && knowledge === "static shapes" ? expected.s : undefined;
    infos.set(refKey({ node: "node", index }), { dtype, shape });
  }
  nodes.push(node);
  const wanted = golden.only ?? Array.from({ length: outputCount }, (_, i) => i);
  const step: DeviceStep = {
    kind: "device",
    id: "step",
    nodes,
    inputs: inputs.filter((input) => input.isFed).map((input) => input.ref),
    outputs: wanted.map((index) => ({ node: "node", index })),
    variables: new Map(),
  };
  const context = {
    inputs: node.inputs.map((ref) => infos.get(refKey(ref))!),
    outputs: Array.from({ length: outputCount }, (_, index) => infos.get(refKey({ node: "node", index }))!),
    constant: (i: number) => (golden.in[i]?.c ? decode(golden.in[i]) : undefined),
  };
  return { step, infos, fed, node, context, wanted };
}

/** A run's answer; a lowering may also leave an impossible constant to ONNX Runtime's loader. */
async function answer(
  step: DeviceStep,
  infos: ReadonlyMap<string, ValueInfo>,
  fed: readonly Tensor[],
): Promise<Tensor[]> {
  const lowered = lowerSegment(step, infos);
  const model = lowered.encode((weight) => {
    assert.ok(weight.source.kind === "tensor");
    const bytes = bytesOf(weight.source.tensor.data as NumericData);
    const { sourceShape, permutation } = weight;
    return permutation ? permuteBytes(bytes, dtypeInfo(weight.dtype).bytes, sourceShape, permutation) : bytes;
  });
  using session = await loadOrt().createSession(model);
  return session.runSync(fed.map((value) => OrtValue.fromTensor(value))).map((value) => value.toTensor());
}

/** float16 as a number, for comparing. */
function halfToNumber(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  const sign = bits >> 15 ? -1 : 1;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15));
}

const TOLERANCE: Record<string, number> = { float32: 1e-5, float64: 1e-9, float16: 4e-3 };

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
    return value.dtype === "float16" ? list.map(halfToNumber) : list;
  };
  const [a, e] = [numbers(actual), numbers(expected)];
  const scale = Math.max(1, ...e.filter(Number.isFinite).map(Math.abs));
  for (let i = 0; i < e.length; i++) {
    const isSame = Object.is(a[i], e[i]) || a[i] === e[i] || Math.abs(a[i]! - e[i]!) <= tolerance * scale;
    assert.ok(isSame, `element ${i}: ${a[i]} instead of ${e[i]}`);
  }
}

for (const file of readdirSync(ROOT)) {
  const cases = JSON.parse(readFileSync(join(ROOT, file), "utf8")) as GoldenCase[];
  const byOp = new Map<string, GoldenCase[]>();
  for (const golden of cases) byOp.set(golden.op, [...(byOp.get(golden.op) ?? []), golden]);
  describe(`lowering against TensorFlow: ${file.replace(/golden-(.*)\.json/, "$1")}`, () => {
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
              else for (const [k, index] of wanted.entries()) assertClose(outputs[k]!, decode(golden.out![index]!));
            } catch (error) {
              const mayFail = golden.error || (knowledge !== "static shapes" && FAILS_UNKNOWN.has(op));
              const isExpected = mayFail && error instanceof ServingError && error.code === "ENGINE_FAILED";
              if (!isExpected) wrong.push(`${label}: ${(error as Error).message}`);
            }
          }
        }
        assert.deepEqual(wrong, []);
      });
    }
  });
}
