import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { infer } from "../src/infer/infer.js";
import { formLayerIdioms } from "../src/passes/rewrites/layer-idioms.js";
import { programOf, textOf } from "./text-graph.js";

function formed(text: string) {
  const program = programOf(text, "y");
  return { program, result: runAtOnce(formLayerIdioms(program, infer(program))) };
}

/** The op that `text` becomes, with its inputs. */
function become(text: string): { readonly op: string; readonly inputs: string[] } {
  const { op, inputs } = formed(text).result.graph.get("y")!;
  return { op, inputs: inputs.map(({ node }) => node) };
}

function assertStays(text: string): void {
  const { program, result } = formed(text);
  assert.deepEqual(textOf(result), textOf(program));
}

const LOGISTIC = `x = Placeholder() dtype=float32 shape=[-1,4]
  one = Const() value=float32[]:1
  minus = Neg(x) T=float32
  e = Exp(minus) T=float32
  sum = AddV2(one, e) T=float32
  y = RealDiv(one, sum) T=float32`;

const SOFTMAX = `x = Placeholder() dtype=float32 shape=[-1,4]
  axis = Const() value=int32[1]:1
  at = Const() value=int32[]:1
  least = Const() value=float32[]:-Infinity
  max = Max(x, axis) T=float32 Tidx=int32 keep_dims=false
  bounded = Maximum(least, max) T=float32
  most = ExpandDims(bounded, at) T=float32 Tdim=int32
  less = Sub(x, most) T=float32
  e = Exp(less) T=float32
  sum = Sum(e, axis) T=float32 Tidx=int32 keep_dims=false
  total = ExpandDims(sum, at) T=float32 Tdim=int32
  y = RealDiv(e, total) T=float32`;

const BIASED = `x = Placeholder() dtype=float32 shape=[-1,3]
  w = Placeholder() dtype=float32 shape=[3,4]
  b = Placeholder() dtype=float32 shape=[4]
  shape = Const() value=int32[2]:1,4
  product = MatMul(x, w) T=float32 transpose_a=false transpose_b=false
  row = Reshape(b, shape) T=float32 Tshape=int32
  y = AddV2(product, row) T=float32`;

describe("what JAX writes as arithmetic", () => {
  it("is a logistic function, whichever way its sum stands", () => {
    assert.deepEqual(become(LOGISTIC), { op: "Sigmoid", inputs: ["x"] });
    assert.deepEqual(become(LOGISTIC.replace("AddV2(one, e)", "AddV2(e, one)")), { op: "Sigmoid", inputs: ["x"] });
  });

  it("is no logistic function with other constants, or of x itself", () => {
    assertStays(LOGISTIC.replace("float32[]:1", "float32[]:2"));
    assertStays(LOGISTIC.replace("float32[]:1", "float32[1]:1"));
    assertStays(LOGISTIC.replace("Neg(x)", "Abs(x)"));
    assertStays(LOGISTIC.replace("RealDiv(one, sum)", "RealDiv(sum, one)"));
  });

  it("stays where a reader tells small values apart, and a Sigmoid is marked", () => {
    const program = (text: string, output = "z") => {
      const made = programOf(text, output);
      return runAtOnce(formLayerIdioms(made, infer(made))).graph.get("y")!;
    };
    const readers = [
      "z = Log(y) T=float32",
      "z = RealDiv(one, y) T=float32",
      "n = Neg(y) T=float32\n  z = Log(n) T=float32",
      "axis = Const() value=int32[]:1\n z = ArgMax(y, axis) T=float32 Tidx=int32 output_type=int64",
    ];
    const given =
      "x = Placeholder() dtype=float32 shape=[-1,4]\n one = Const() value=float32[]:1\n y = Sigmoid(x) T=float32";
    for (const reader of readers) {
      assert.equal(program(`${LOGISTIC}\n  ${reader}`).op, "RealDiv", reader);
      assert.equal(program(`${given}\n  ${reader}`).attrs.get("exact"), true, reader);
    }
    const reader = "z = RealDiv(y, one) T=float32";
    assert.equal(program(`${LOGISTIC}\n  ${reader}`).op, "Sigmoid");
    assert.equal(program(`${given}\n  ${reader}`).attrs.get("exact"), undefined);
  });

  it("is a softmax along the last axis, by kept dimensions too", () => {
    assert.deepEqual(become(SOFTMAX), { op: "Softmax", inputs: ["x"] });
    const plain = SOFTMAX.replace("ExpandDims(bounded", "ExpandDims(max");
    assert.deepEqual(become(plain), { op: "Softmax", inputs: ["x"] });
    const kept = SOFTMAX.replaceAll("keep_dims=false", "keep_dims=true")
      .replace("Sub(x, most)", "Sub(x, bounded)")
      .replace("RealDiv(e, total)", "RealDiv(e, sum)");
    assert.deepEqual(become(kept), { op: "Softmax", inputs: ["x"] });
  });

  it("is no softmax along another axis, of sums of others or from another bound", () => {
    assertStays(SOFTMAX.replace("int32[1]:1", "int32[1]:0").replace("int32[]:1", "int32[]:0"));
    assertStays(SOFTMAX.replace("Sum(e,", "Sum(less,"));
    assertStays(SOFTMAX.replace("Max(x,", "Min(x,"));
    assertStays(SOFTMAX.replace("-Infinity", "0"));
    // A bound that adds a dimension to what it is compared with.
    assertStays(
      SOFTMAX.replace("shape=[-1,4]", "shape=[4]")
        .replace("least = Const() value=float32[]:", "least = Const() value=float32[1,1]:")
        .replaceAll("keep_dims=false", "keep_dims=true")
        .replace("int32[1]:1", "int32[1]:-1")
        .replace("Sub(x, most)", "Sub(x, bounded)")
        .replace("RealDiv(e, total)", "RealDiv(e, sum)"),
    );
    assertStays(SOFTMAX.replace("Tidx=int32 keep_dims=false\n  bounded", "Tidx=int32 keep_dims=true\n  bounded"));
  });

  it("is a bias", () => {
    assert.deepEqual(become(BIASED), { op: "BiasAdd", inputs: ["product", "b"] });
    assert.deepEqual(become(BIASED.replace("(product, row)", "(row, product)")).inputs, ["product", "b"]);
  });

  it("is no bias where it is not one number a column of a product", () => {
    assertStays(BIASED.replace("shape=[4]", "shape=[2,2]"));
    assertStays(BIASED.replace("shape=[3,4]", "shape=[3,-1]"));
    assertStays(BIASED.replace("MatMul(x, w) T=float32 transpose_a=false transpose_b=false", "Neg(x) T=float32"));
  });
});
