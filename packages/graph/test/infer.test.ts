import assert from "node:assert/strict";
import { infer } from "../src/infer/infer.js";
import { formatType } from "../src/plan/report.js";
import { programOf } from "./text-graph.js";

/** What is inferred of output `ref` of the last line's node. */
function typeOf(text: string, ref?: string): string {
  const name = ref ?? /^(\S+) =/.exec(text.trim().split("\n").at(-1)!.trim())![1]!;
  const inference = infer(programOf(text, name));
  const info = inference.infos.get(name);
  return info ? formatType(info.dtype, info.shape) : "unknown";
}

/** The known elements of a value. */
function valueOf(text: string): (number | undefined)[] | undefined {
  const name = /^(\S+) =/.exec(text.trim().split("\n").at(-1)!.trim())![1]!;
  const value = infer(programOf(text, name)).value({ node: name, index: 0 });
  return value && [...value.values];
}

const X = (shape: string, dtype = "float32", name = "x") => `${name} = Placeholder() dtype=${dtype} shape=${shape}\n`;
const I = (name: string, value: string) => `${name} = Const() value=int32${value}\n`;

describe("infer", () => {
  it("keeps what it knew where a node changed and its values did not", () => {
    const before = programOf(
      `${X("[-1,3]")}i = Identity(x) T=float32\ny = Neg(i) T=float32\nz = Abs(y) T=float32`,
      "z",
    );
    const known = infer(before);
    const y = { ...before.graph.get("y")!, inputs: [{ node: "x", index: 0 }] };
    const after = { ...before, graph: new Map([...before.graph, ["y", y]]) };
    const again = infer(after, known);
    for (const key of ["x", "y", "z"]) assert.equal(again.infos.get(key), known.infos.get(key), key);
    assert.equal(infer(after, again), again);
  });

  it("broadcasts", () => {
    assert.equal(typeOf(`${X("[-1,1,3]")}${X("[4,1]", "float32", "z")}y = AddV2(x, z) T=float32`), "float32[?,4,3]");
    assert.equal(typeOf(`${X("[-1]")}${X("[5]", "float32", "z")}y = Less(x, z) T=float32`), "bool[5]");
    assert.equal(typeOf(`${X("null")}${X("[5]", "float32", "z")}y = Mul(x, z) T=float32`), "float32[...]");
  });

  it("reshapes by known, open and computed dimensions", () => {
    assert.equal(typeOf(`${X("[2,3,4]")}${I("s", "[2]:-1,6")}y = Reshape(x, s) T=float32`), "float32[4,6]");
    assert.equal(typeOf(`${X("[-1,3,4]")}${I("s", "[2]:-1,12")}y = Reshape(x, s) T=float32`), "float32[?,12]");
    assert.equal(typeOf(`${X("null")}${X("[3]", "int32", "s")}y = Reshape(x, s) T=float32`), "float32[?,?,?]");
    const flatten = `${X("[-1,3,4]")}s = Shape(x) T=float32\n${I("b", "[1]:0")}${I("e", "[1]:1")}${I("o", "[1]:1")}
      n = StridedSlice(s, b, e, o) T=int32 Index=int32 shrink_axis_mask=1\n${I("c", "[]:12")}p = Pack(n, c) N=2 T=int32
      y = Reshape(x, p) T=float32`;
    assert.equal(typeOf(flatten), "float32[?,12]");
  });

  it("slices with masks", () => {
    const slice = (masks: string) =>
      typeOf(
        `${X("[-1,7,5]")}${I("b", "[2]:0,1")}${I("e", "[2]:0,6")}${I("s", "[2]:1,2")}y = StridedSlice(x, b, e, s) T=float32 Index=int32 ${masks}`,
      );
    assert.equal(slice("begin_mask=1 end_mask=1"), "float32[?,3,5]");
    assert.equal(slice("begin_mask=1 end_mask=1 shrink_axis_mask=2"), "float32[?,5]");
    assert.equal(slice("new_axis_mask=1"), "float32[1,?,7,5]");
    assert.equal(slice("ellipsis_mask=1"), "float32[?,7,2]");
  });

  it("gathers, one-hots and reduces", () => {
    assert.equal(
      typeOf(`${X("[100,8]")}${X("[-1,3]", "int64", "i")}y = Gather(x, i) Tparams=float32 Tindices=int64`),
      "float32[?,3,8]",
    );
    const axis = `${X("[2,100,8]")}${X("[2,3]", "int64", "i")}${I("a", "[]:1")}`;
    assert.equal(
      typeOf(`${axis}y = GatherV2(x, i, a) Tparams=float32 Tindices=int64 Taxis=int32 batch_dims=1`),
      "float32[2,3,8]",
    );
    assert.equal(
      typeOf(
        `${X("[-1,3]", "int64")}${I("d", "[]:5")}${X("[]", "float32", "on")}y = OneHot(x, d, on, on) T=float32 TI=int64`,
      ),
      "float32[?,3,5]",
    );
    assert.equal(
      typeOf(`${X("[-1,3,4]")}${I("a", "[1]:-1")}y = Mean(x, a) T=float32 Tidx=int32 keep_dims=true`),
      "float32[?,3,1]",
    );
    assert.equal(typeOf(`${X("[-1,3,4]")}${I("a", "[]:1")}y = ArgMax(x, a) T=float32 Tidx=int32`), "int64[?,4]");
  });

  it("multiplies matrices", () => {
    assert.equal(
      typeOf(`${X("[-1,3]")}${X("[5,3]", "float32", "w")}y = MatMul(x, w) T=float32 transpose_b=true`),
      "float32[?,5]",
    );
    assert.equal(
      typeOf(`${X("[-1,2,3]")}${X("[3,5]", "float32", "w")}y = BatchMatMulV2(x, w) T=float32`),
      "float32[?,2,5]",
    );
    assert.equal(
      typeOf(`${X("[-1,4,6]")}${X("[6,2,3]", "float32", "w")}y = Einsum(x, w) T=float32 N=2 equation=abc,cde->abde`),
      "float32[?,4,2,3]",
    );
    assert.equal(
      typeOf(`${X("[7,4,6]")}${X("[6,2]", "float32", "w")}y = Einsum(x, w) T=float32 N=2 equation=...c,cd->...d`),
      "float32[7,4,2]",
    );
  });

  it("knows what parsing gives", () => {
    const example = `${X("[-1]", "string", "s")}n = Const() value=string[0]:\nk = Const() value=string[1]:a\nd = Const() value=float32[0]:
      y = ParseExampleV2(s, n, k, k, n, d) Tdense=["float32"] num_sparse=1 sparse_types=["int64"] ragged_value_types=[] ragged_split_types=[] dense_shapes=[[3]]`;
    assert.equal(typeOf(example, "y"), "int64[?,2]");
    assert.equal(typeOf(example, "y:1"), "int64[?]");
    assert.equal(typeOf(example, "y:2"), "int64[2]");
    assert.equal(typeOf(example, "y:3"), "float32[?,3]");
  });

  it("follows single elements of shapes through arithmetic", () => {
    const shape = `${X("[-1,6]")}s = Shape(x) T=float32\n`;
    assert.deepEqual(valueOf(`${shape}y = Mul(s, s) T=int32`), [undefined, 36]);
    assert.deepEqual(
      valueOf(`${shape}${I("t", "[1]:2")}${I("a", "[]:0")}y = ConcatV2(s, t, a) N=2 T=int32 Tidx=int32`),
      [undefined, 6, 2],
    );
    assert.deepEqual(valueOf(`${shape}${I("r", "[2]:1,0")}y = Gather(s, r) Tparams=int32 Tindices=int32`), [
      6,
      undefined,
    ]);
    assert.deepEqual(valueOf(`${I("a", "[]:2147483647")}y = AddV2(a, a) T=int32`), undefined);
  });

  it("says nothing of what it does not know", () => {
    assert.equal(typeOf(`${X("[3]")}y = ZeroOut(x)`), "unknown");
    assert.equal(typeOf(`${X("[3]")}z = ZeroOut(x)\ny = Neg(z) T=float32`), "float32[...]");
  });

  it("does not believe counts that no graph has", () => {
    assert.equal(typeOf(`${X("[3]")}y = Unpack(x) num=1000000000 T=float32`), "unknown");
    assert.throws(
      () => typeOf(`${X("[3]")}p = Placeholder() dtype=int32 shape=[100000]\ny = Reshape(x, p) T=float32`),
      /asks for 100000 values/,
    );
  });
});
