import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { create, fromBinary, onnx, toBinary } from "@shardserve/api";
import { servedFile } from "@shardserve/onnx";

const { INTS, FLOATS, GRAPH } = onnx.AttributeProto_AttributeType;

/** A forest before a ZipMap, which has to be opened, and what has lists that are read, or graphs. */
function forest(numbers: number): onnx.ModelProto {
  const longs = Array.from({ length: numbers }, (_, i) => BigInt(i - 5));
  const list = (name: string) => create(onnx.AttributeProtoSchema, { name, type: INTS, ints: longs });
  const floats = create(onnx.AttributeProtoSchema, {
    name: "nodes_values",
    type: FLOATS,
    floats: Array.from({ length: numbers }, (_, i) => i / 4),
  });
  const long = create(onnx.GraphProtoSchema, {
    node: [{ opType: "Mod", input: ["n", "n"], output: ["r"], docString: "x".repeat(20_000) }],
    output: [{ name: "r" }],
  });
  const branches = ["then_branch", "else_branch"].map((name) =>
    create(onnx.AttributeProtoSchema, { name, type: GRAPH, g: long }),
  );
  const domain = "ai.onnx.ml";
  const graph = create(onnx.GraphProtoSchema, {
    node: [
      {
        opType: "TreeEnsembleRegressor",
        domain,
        input: ["x"],
        output: ["p"],
        attribute: [list("nodes_treeids"), floats, list("nodes_featureids")],
      },
      { opType: "ZipMap", domain, input: ["p"], output: ["scores"], attribute: [list("classlabels_int64s")] },
      { opType: "If", input: ["b"], output: ["q"], attribute: branches },
    ],
    output: [{ name: "scores" }],
  });
  return create(onnx.ModelProtoSchema, { irVersion: 8n, opsetImport: [{ version: 17n }], graph });
}

describe("long lists of an ONNX model's nodes", () => {
  it("are served as they were, beside what is changed", async () => {
    const before = forest(20_000);
    const after = fromBinary(onnx.ModelProtoSchema, await servedFile(toBinary(onnx.ModelProtoSchema, before), "m"));
    const [trees, opened, branch] = after.graph!.node;
    const byName = ({ attribute }: onnx.NodeProto) => new Map(attribute.map((one) => [one.name, one]));
    assert.deepEqual(byName(trees!), byName(before.graph!.node[0]!));
    assert.equal(trees!.opType, "TreeEnsembleRegressor");
    assert.equal(opened!.opType, "Identity");
    assert.ok(branch!.attribute[0]!.g!.node.length > 1, "the division inside is guarded");
  });

  it("are not taken apart on the event loop", async () => {
    const bytes = toBinary(onnx.ModelProtoSchema, forest(300_000));
    let turns = 0;
    let isServed = false;
    const served = servedFile(bytes, "m").finally(() => (isServed = true));
    while (!isServed) {
      await setImmediate();
      turns++;
    }
    assert.ok((await served).length > 2 ** 20);
    assert.ok(turns > 3, `${turns} turns`);
  });
});
