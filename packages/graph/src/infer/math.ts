import type { Shape } from "../ir/attrs.js";
import {
  broadcast,
  broadcastAll,
  each,
  knownValues,
  knownScalar,
  merge,
  normalAxis,
  same,
  type ShapeCall,
  type ShapeFunction,
  UNKNOWN,
  unknowns,
  withDim,
} from "./shapes.js";

/** Shapes of element-wise arithmetic, reductions and matrix products. */
export const MATH_SHAPES: Readonly<Record<string, ShapeFunction>> = {
  ...each(
    `Abs Neg Sign Sqrt Rsqrt Square Exp Expm1 Log Log1p Floor Ceil Round Rint Reciprocal Inv Sin Cos Tan Asin Acos Atan Sinh
     Cosh Tanh Asinh Acosh Atanh Erf Erfc Erfinv Ndtri Lgamma Digamma Sigmoid Relu Relu6 LeakyRelu Elu Selu Softplus Softsign
     Softmax LogSoftmax IsNan IsInf IsFinite LogicalNot Invert Cumsum Cumprod CumulativeLogsumexp Real Imag Conj ComplexAbs
     Angle FakeQuantWithMinMaxVars FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVarsPerChannel QuantizeAndDequantizeV2
     QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeAndDequantize Bucketize BucketizeWithInputBoundaries
     BesselJ0 BesselJ1 BesselY0 BesselY1 BesselK0 BesselK1 BesselK0e BesselK1e Dawsn Expint Spence FresnelCos FresnelSin
     ClipByValue MatrixInverse BatchMatrixInverse Cholesky BatchCholesky L2Normalize BiasAdd BiasAddV1 NthElementGrad`,
    same(),
  ),
  ...each(
    `Add AddV2 Sub Mul Div RealDiv FloorDiv TruncateDiv DivNoNan MulNoNan FloorMod Mod TruncateMod Pow Maximum Minimum
     SquaredDifference Atan2 Xlogy Xlog1py Xdivy Less LessEqual Greater GreaterEqual LogicalAnd LogicalOr
     BitwiseAnd BitwiseOr BitwiseXor LeftShift RightShift ApproximateEqual Complex Igamma Igammac Zeta Polygamma NextAfter`,
    (call) => [broadcast(call.shape(0), call.shape(1))],
  ),
  ...each("FFT FFT2D FFT3D IFFT IFFT2D IFFT3D", same()),
  ...each("RFFT RFFT2D RFFT3D", (call) => [realTransform(call, (last) => Math.floor(last / 2) + 1)]),
  ...each("IRFFT IRFFT2D IRFFT3D", (call) => [realTransform(call, (last) => last)]),
  // Shapes that do not fit may be asked to make a scalar.
  ...each("Equal NotEqual", (call) => [
    call.attrs.bool("incompatible_shape_error") ? broadcast(call.shape(0), call.shape(1)) : undefined,
  ]),
  SelectV2: (call) => [broadcastAll([call.shape(0), call.shape(1), call.shape(2)])],
  Select: (call) => [merge(call.shape(1), call.shape(2))],
  AddN: (call) => [call.inputs.map((info) => info.shape).reduce(merge)],
  AccumulateNV2: (call) => [call.inputs.map((info) => info.shape).reduce(merge)],
  ...each("Sum Mean Max Min Prod All Any EuclideanNorm", (call) => [reduce(call)]),
  ...each("ArgMax ArgMin", (call) => [argReduce(call)]),
  L2Loss: () => [[]],
  MatMul: (call) => [
    matMul(call.shape(0), call.shape(1), call.attrs.bool("transpose_a"), call.attrs.bool("transpose_b")),
  ],
  ...each("BatchMatMul BatchMatMulV2 BatchMatMulV3", (call) => [
    batchMatMul(call.shape(0), call.shape(1), call.attrs.bool("adj_x"), call.attrs.bool("adj_y")),
  ]),
  _FusedMatMul: (call) => [
    matMul(call.shape(0), call.shape(1), call.attrs.bool("transpose_a"), call.attrs.bool("transpose_b")),
  ],
  SparseMatMul: (call) => [
    matMul(call.shape(0), call.shape(1), call.attrs.bool("transpose_a"), call.attrs.bool("transpose_b")),
  ],
  Einsum: (call) => [einsum(call)],
  Cross: same(),
  TridiagonalMatMul: same(3),
  TridiagonalSolve: same(1),
  TopK: (call) => topK(call.shape(0), call.attrs.int("k")),
  ApproxTopK: (call) => topK(call.shape(0), call.attrs.int("k")),
  TopKV2: (call) => topK(call.shape(0), knownScalar(call.value(1)) ?? UNKNOWN),
  InTopK: (call) => [call.shape(1)],
  InTopKV2: (call) => [call.shape(1)],
  NthElement: (call) => [call.shape(0)?.slice(0, -1)],
  ...each("SegmentSum SegmentMean SegmentMax SegmentMin SegmentProd", (call) => [
    call.shape(0) && [UNKNOWN, ...call.shape(0)!.slice(1)],
  ]),
  ...each("SparseSegmentSum SparseSegmentMean SparseSegmentSqrtN", (call) => [
    call.shape(0) && [UNKNOWN, ...call.shape(0)!.slice(1)],
  ]),
  ...each(
    "SparseSegmentSumWithNumSegments SparseSegmentMeanWithNumSegments SparseSegmentSqrtNWithNumSegments",
    (call) => [call.shape(0) && [knownScalar(call.value(3)) ?? UNKNOWN, ...call.shape(0)!.slice(1)]],
  ),
  ...each("UnsortedSegmentSum UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd", (call) => {
    const [data, ids] = [call.shape(0), call.shape(1)];
    return [data && ids ? [knownScalar(call.value(2)) ?? UNKNOWN, ...data.slice(ids.length)] : undefined];
  }),
  Bincount: (call) => [[knownScalar(call.value(1)) ?? UNKNOWN]],
  DenseBincount: (call) => {
    const size = knownScalar(call.value(1)) ?? UNKNOWN;
    const input = call.shape(0);
    return [input && (input.length === 2 ? [input[0]!, size] : [size])];
  },
  HistogramFixedWidth: (call) => [[knownScalar(call.value(2)) ?? UNKNOWN]],
  ...each("RandomUniform RandomStandardNormal TruncatedNormal RandomUniformInt", (call) => [knownShape(call, 0)]),
  ...each(
    "StatefulUniform StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniformInt StatefulUniformFullInt",
    (call) => [knownShape(call, 2)],
  ),
};

/** The shape that input `at` states. */
function knownShape(call: ShapeCall, at: number): Shape {
  const value = call.value(at);
  return value?.shape.length === 1 ? value.values.map((dim) => dim ?? UNKNOWN) : undefined;
}

function reduce(call: ShapeCall): Shape {
  const input = call.shape(0);
  const keep = call.attrs.bool("keep_dims");
  const axes = knownValues(call.value(1));
  if (!input) return undefined;
  if (!axes) {
    if (keep) return unknowns(input.length);
    const count = call.shape(1)?.length === 0 ? 1 : (call.shape(1)?.[0] ?? UNKNOWN);
    return count === UNKNOWN || count > input.length ? undefined : unknowns(input.length - count);
  }
  const reduced = new Set(axes.map((axis) => normalAxis(axis, input.length)));
  return input.flatMap((dim, i) => (reduced.has(i) ? (keep ? [1] : []) : [dim]));
}

function argReduce(call: ShapeCall): Shape {
  const input = call.shape(0);
  const axis = knownScalar(call.value(1));
  if (!input) return undefined;
  const at = axis === undefined ? undefined : normalAxis(axis, input.length);
  return at === undefined ? unknowns(Math.max(0, input.length - 1)) : input.filter((_, i) => i !== at);
}

function matMul(a: Shape, b: Shape, transposeA: boolean, transposeB: boolean): Shape {
  return [a?.length === 2 ? a[transposeA ? 1 : 0]! : UNKNOWN, b?.length === 2 ? b[transposeB ? 0 : 1]! : UNKNOWN];
}

function batchMatMul(a: Shape, b: Shape, adjA: boolean, adjB: boolean): Shape {
  if (!a || !b || a.length < 2 || b.length < 2) return undefined;
  const batch = broadcast(a.slice(0, -2), b.slice(0, -2))!;
  return [...batch, a.at(adjA ? -1 : -2)!, b.at(adjB ? -2 : -1)!];
}

function einsum(call: ShapeCall): Shape {
  const [left, right] = call.attrs.text("equation").replace(/\s/g, "").split("->") as [string, string?];
  if (right === undefined) return undefined;
  const dims = new Map<string, number>();
  let ellipsis: Shape = [];
  for (const [i, labels] of left.split(",").entries()) {
    const shape = call.shape(i);
    if (!shape) return right.includes("...") ? undefined : unknowns(right.length);
    const [before, after] = labels.split("...") as [string, string?];
    const tail = after ?? "";
    for (const [k, label] of before.split("").entries()) setDim(dims, label, shape[k] ?? UNKNOWN);
    for (const [k, label] of tail.split("").entries())
      setDim(dims, label, shape[shape.length - tail.length + k] ?? UNKNOWN);
    if (after !== undefined) ellipsis = broadcast(ellipsis, shape.slice(before.length, shape.length - tail.length));
  }
  const [before, after] = right.split("...") as [string, string?];
  const sizes = (labels: string): number[] => labels.split("").map((label) => dims.get(label) ?? UNKNOWN);
  return [...sizes(before), ...(after === undefined ? [] : (ellipsis ?? [])), ...sizes(after ?? "")];
}

function setDim(dims: Map<string, number>, label: string, dim: number): void {
  const known = dims.get(label);
  if (known === undefined || known === UNKNOWN || known === 1) dims.set(label, dim);
}

function topK(input: Shape, k: number): Shape[] {
  const shape = input && withDim(input, input.length - 1, k);
  return [shape, shape];
}

/** The asked lengths in place of the last dimensions; of no length there are no bins. */
function realTransform(call: ShapeCall, lastOf: (length: number) => number): Shape {
  const rank = Number(/(\d)D$/.exec(call.node.op)?.[1] ?? 1);
  const shape = call.shape(0);
  if (!shape || shape.length < rank) return undefined;
  const asked = call.value(1)?.values;
  const lengths = Array.from({ length: rank }, (_, i) => asked?.[i] ?? UNKNOWN);
  const last = lengths.pop()!;
  return [...shape.slice(0, -rank), ...lengths, last > 0 ? lastOf(last) : last];
}
