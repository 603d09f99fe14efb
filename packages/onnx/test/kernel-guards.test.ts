import assert from "node:assert/strict";
import { create, onnx } from "@shardserve/api";
import { toServedForm } from "@shardserve/onnx";

const FLOAT = 1;
const INT64 = 7;
const { INT, GRAPH, TENSOR } = onnx.AttributeProto_AttributeType;

const int = (name: string, i: number) => create(onnx.AttributeProtoSchema, { name, type: INT, i: BigInt(i) });
const node = (opType: string, input: string[], output: string[], attribute: onnx.AttributeProto[] = [], domain = "") =>
  create(onnx.NodeProtoSchema, { opType, domain, input, output, attribute });
const value = (name: string, elemType = 0, rank = 1) =>
  create(onnx.ValueInfoProtoSchema, {
    name,
    ...(elemType > 0 && {
      type: {
        value: { case: "tensorType", value: { elemType, shape: { dim: Array.from({ length: rank }, () => ({})) } } },
      },
    }),
  });
const scalar = (n: bigint) => create(onnx.TensorProtoSchema, { dataType: INT64, int64Data: [n] });

/** A model with inputs f (float), n and m (int64). */
function model(nodes: onnx.NodeProto[], opset = 17) {
  const graph = create(onnx.GraphProtoSchema, {
    node: nodes,
    input: [value("f", FLOAT), value("n", INT64), value("m", INT64)],
  });
  const opsetImport = [{ version: BigInt(opset) }];
  return Object.assign(create(onnx.ModelProtoSchema, { opsetImport, graph }), { graph });
}

const constant = (output: string, n: bigint) =>
  node("Constant", [], [output], [create(onnx.AttributeProtoSchema, { name: "value", type: TENSOR, t: scalar(n) })]);
const loop = (input: string[], body: onnx.NodeProto[], state: string) => {
  const g = create(onnx.GraphProtoSchema, {
    node: body,
    input: [value("i"), value("go"), value("s")],
    output: [value("go"), value(state)],
  });
  return node("Loop", input, ["end"], [create(onnx.AttributeProtoSchema, { name: "body", type: GRAPH, g })]);
};

describe("divisions that are guarded in ONNX models", () => {
  const cases: Record<string, readonly [nodes: onnx.NodeProto[], isGuarded: boolean]> = {
    "integers of inputs": [[node("Div", ["n", "m"], ["q"])], true],
    "floats of inputs": [[node("Div", ["f", "f"], ["q"])], false],
    "what was cast to floats": [
      [node("Cast", ["n"], ["x"], [int("to", FLOAT)]), node("Div", ["x", "x"], ["q"])],
      false,
    ],
    "what was cast to integers": [
      [node("Cast", ["f"], ["x"], [int("to", INT64)]), node("Div", ["x", "x"], ["q"])],
      true,
    ],
    "lengths of floats": [[node("Shape", ["f"], ["x"]), node("Div", ["x", "m"], ["q"])], true],
    "what a condition chooses": [
      [node("Equal", ["n", "m"], ["same"]), node("Where", ["same", "f", "f"], ["x"]), node("Div", ["x", "x"], ["q"])],
      false,
    ],
    "places of the greatest": [[node("ArgMax", ["f"], ["x"]), node("Mod", ["x", "m"], ["q"])], true],
    "by a constant": [[constant("c", 7n), node("Div", ["n", "c"], ["q"])], false],
    "by the constant -1": [[constant("c", -1n), node("Mod", ["n", "c"], ["q"])], true],
    "a Mod of floats' kind": [[node("Mod", ["n", "m"], ["q"], [int("fmod", 1)])], false],
    "quotients of unknown type": [[node("Own", ["n"], ["x"], [], "own"), node("Div", ["x", "x"], ["q"])], true],
    "remainders of unknown type": [[node("Own", ["n"], ["x"], [], "own"), node("Mod", ["x", "x"], ["q"])], true],
    "a loop's state of integers": [[loop(["n", "", "m"], [node("Div", ["s", "s"], ["t"])], "t")], true],
    "a loop's state of floats": [[loop(["n", "", "f"], [node("Div", ["s", "s"], ["t"])], "t")], false],
    "what a loop gives": [
      [loop(["n", "", "f"], [node("Identity", ["s"], ["t"])], "t"), node("Div", ["end", "end"], ["q"])],
      false,
    ],
  };
  for (const [what, [nodes, isGuarded]] of Object.entries(cases))
    it(`${isGuarded ? "guards" : "leaves"} ${what}`, () => assert.equal(toServedForm(model(nodes)), isGuarded));
});

describe("ranks that are guarded in ONNX models", () => {
  it("leaves inputs that declare one, and convolutions where all do", () => {
    assert.equal(toServedForm(model([node("Multinomial", ["f"], ["y"])])), true, "declared, but not what the op takes");
    assert.equal(toServedForm(model([node("Conv", ["f", "f"], ["y"])])), false);
    const open = model([node("Conv", ["f", "f"], ["y"])]);
    const undeclared = create(onnx.TypeProtoSchema, { value: { case: "tensorType", value: { elemType: FLOAT } } });
    open.graph.input.push(create(onnx.ValueInfoProtoSchema, { name: "g", type: undeclared }));
    assert.equal(toServedForm(open), true);
    const declared = model([node("Multinomial", ["x"], ["y"])]);
    declared.graph.input.push(value("x", FLOAT, 2));
    assert.equal(toServedForm(declared), false);
  });
});
