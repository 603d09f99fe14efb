import assert from "node:assert/strict";
import { encodeTensorProto, scalar, toNumbers } from "@shardserve/tensor";
import { Attrs, LazyTensor } from "../src/ir/attrs.js";
import { opDef } from "../src/op-table.js";

describe("Attrs", () => {
  it("fills in the defaults that SavedModels leave out", () => {
    const attrs = new Attrs("MatMul", { T: "float32" });
    assert.equal(attrs.bool("transpose_a"), false);
    assert.equal(attrs.dtype("T"), "float32");
    assert.equal(new Attrs("Conv2D").text("data_format"), "NHWC");
    assert.deepEqual(new Attrs("Conv2D").ints("dilations"), [1, 1, 1, 1]);
    assert.deepEqual(new Attrs("Squeeze").ints("squeeze_dims"), []);
  });

  it("prefers what the node says", () => {
    assert.equal(new Attrs("MatMul", { transpose_a: true }).bool("transpose_a"), true);
  });

  it("names the op and the attribute when there is no value", () => {
    assert.throws(() => new Attrs("MatMul").dtype("T"), /MatMul node has no attribute "T"/);
    assert.throws(() => new Attrs("MatMul", { T: [1] }).dtype("T"), /"T" of a MatMul node is not a dtype/);
  });

  it("tells unknown rank from a scalar", () => {
    assert.equal(new Attrs("Placeholder").shape("shape"), undefined);
    assert.deepEqual(new Attrs("Placeholder", { shape: [] }).shape("shape"), []);
  });

  it("decodes a tensor once", () => {
    const lazy = new LazyTensor(encodeTensorProto(scalar("int32", 7)));
    const attrs = new Attrs("Const", { value: lazy });
    assert.deepEqual(toNumbers(attrs.tensor("value")), [7]);
    assert.equal(attrs.tensor("value"), attrs.tensor("value"));
  });

  it("keeps 64-bit integers", () => {
    assert.equal(new Attrs("X", { seed: 2n ** 60n + 1n }).bigint("seed"), 2n ** 60n + 1n);
    assert.throws(() => new Attrs("X", { seed: 2n ** 60n + 1n }).int("seed"), /below 2\^53/);
  });
});

describe("op table", () => {
  it("knows arguments, lists and references", () => {
    assert.deepEqual(opDef("Assign")?.inputs[0], { name: "ref", isRef: true, typeAttr: "T" });
    assert.deepEqual(opDef("ConcatV2")?.inputs[0], { name: "values", isRef: false, typeAttr: "T", numberAttr: "N" });
    assert.deepEqual(opDef("IdentityN")?.outputs[0], { name: "output", isRef: false, typeListAttr: "T" });
    assert.equal(opDef("Shape")?.outputs[0]?.typeAttr, "out_type");
  });

  it("knows ops that TensorFlow dropped", () => {
    assert.equal(opDef("BoostedTreesBucketize")?.outputs[0]?.numberAttr, "num_features");
    assert.equal(opDef("BucketizeWithInputBoundaries")?.inputs.length, 2);
  });

  it("does not know custom ops, or what objects inherit", () => {
    assert.equal(opDef("ZeroOut"), undefined);
    assert.equal(opDef("constructor"), undefined);
  });
});
