import assert from "node:assert/strict";
import { join } from "node:path";
import {
  AttrValueSchema,
  create,
  FunctionDefSchema,
  type MetaGraphDef,
  MetaGraphDefSchema,
  type NodeDef,
  NodeDefSchema,
} from "@shardserve/api";
import { isServingError, runAtOnce } from "@shardserve/core";
import { type GraphNode, importGraph, type Signature, wholeGraph, exportNode } from "@shardserve/graph";
import { attr, readSavedModel } from "@shardserve/savedmodel";
import { type DType, encodeTensorProto, type Tensor } from "@shardserve/tensor";
import { REPO_DIR } from "@shardserve/testkit";

const node = (name: string, op: string, input: string[] = [], attrs: NodeDef["attr"] = {}, device = ""): NodeDef =>
  create(NodeDefSchema, { name, op, input, attr: attrs, device });
const call = (name: string) => create(AttrValueSchema, { value: { case: "func", value: { name, attr: {} } as never } });
const FLOAT = { dtype: attr.type("float32") };

function meta(nodes: NodeDef[], functions: { name: string; nodes: NodeDef[] }[] = []): MetaGraphDef {
  const library = functions.map(({ name, nodes: nodeDef }) =>
    create(FunctionDefSchema, { signature: { name }, nodeDef }),
  );
  return create(MetaGraphDefSchema, { graphDef: { node: nodes, library: { function: library } } });
}

const signature = (input: string, output: string): Signature => {
  const tensor = (alias: string, name: string) => ({
    alias,
    ref: { node: name, index: 0 },
    dtype: "float32" as DType,
    shape: undefined,
  });
  return { name: "s", method: "", inputs: [tensor("in", input)], outputs: [tensor("out", output)] };
};

const whole = (metaGraph: MetaGraphDef, options: Partial<Parameters<typeof wholeGraph>[1]> = {}) =>
  wholeGraph(metaGraph, {
    signatures: [signature("x", "y")],
    initOp: undefined,
    assets: new Map(),
    variables: new Map(),
    tables: new Map(),
    ...options,
  });

describe("wholeGraph", () => {
  it("keeps what signatures and the init op need, and the functions that those call", () => {
    const metaGraph = meta(
      [
        node("x", "Placeholder", [], FLOAT),
        node("y", "PartitionedCall", ["x", "^effect"], { f: call("outer") }),
        node("effect", "NoOp"),
        node("train", "CustomOptimizer", ["y"]),
        node("init", "NoOp", ["^table"]),
        node("table", "StatefulPartitionedCall", [], { f: call("fill") }),
      ],
      [
        { name: "outer", nodes: [node("a", "inner")] },
        { name: "inner", nodes: [node("b", "Relu")] },
        { name: "fill", nodes: [node("c", "LookupTableImportV2")] },
        { name: "gradient", nodes: [node("d", "SomethingElse")] },
      ],
    );
    const { graphDef, ops, writes, initOp } = whole(metaGraph, { initOp: "init" });
    assert.deepEqual(graphDef.node.map(({ name }) => name).sort(), ["effect", "init", "table", "x", "y"]);
    assert.deepEqual(graphDef.library?.function.map((def) => def.signature?.name).sort(), ["fill", "inner", "outer"]);
    const called = ["LookupTableImportV2", "NoOp", "PartitionedCall", "Placeholder", "Relu", "StatefulPartitionedCall"];
    assert.deepEqual([...ops.keys()].sort(), called);
    assert.equal(initOp, "init");
    assert.deepEqual([...writes], [], "the init op's writes are none of a request");
  });

  it("adds nodes that fill variables and tables, of the kind that their handles need", () => {
    const types = { key_dtype: attr.type("string"), value_dtype: attr.type("int64") };
    const metaGraph = meta([
      node("x", "Placeholder", [], FLOAT),
      node("new", "VarHandleOp", [], FLOAT),
      node("old", "VariableV2", [], FLOAT),
      node("unused", "VarHandleOp", [], FLOAT),
      node("table", "MutableHashTableV2", [], types),
      node("y", "AddN", ["x", "new", "old", "table"]),
    ]);
    const key = (checkpointKey: string) => ({ checkpointKey });
    const { graphDef, variables, tables } = whole(metaGraph, {
      variables: new Map([
        ["new", key("a")],
        ["old", key("b")],
        ["unused", key("c")],
      ]),
      tables: new Map([["table", { keys: "k", values: "v" }]]),
    });
    const find = (name: string) => graphDef.node.find((candidate) => candidate.name === name)!;
    assert.deepEqual(
      variables.map(({ binding, feed, target }) => [
        binding.checkpointKey,
        find(target).op,
        find(target).input,
        feed.node,
      ]),
      [
        ["a", "AssignVariableOp", ["new", variables[0]!.feed.node], variables[0]!.feed.node],
        ["b", "Assign", ["old", variables[1]!.feed.node], variables[1]!.feed.node],
      ],
    );
    assert.equal(find(tables[0]!.target).op, "LookupTableImportV2");
    assert.deepEqual(find(tables[0]!.target).input, ["table", tables[0]!.keys.node, tables[0]!.values.node]);
  });

  it("tells what a request changes, in functions too, and of which dtype", () => {
    const metaGraph = meta(
      [
        node("x", "Placeholder", [], FLOAT),
        node("count", "AssignAddVariableOp", ["x"], { dtype: attr.type("int64") }),
        node("y", "StatefulPartitionedCall", ["x", "^count"], { f: call("f") }),
      ],
      [{ name: "f", nodes: [node("insert", "LookupTableInsertV2")] }],
    );
    assert.deepEqual(
      [...whole(metaGraph).writes],
      [
        ["count", "int64"],
        ["insert", undefined],
      ],
    );
  });

  it("forgets the jobs of a training cluster, not the kind of device", () => {
    const metaGraph = meta([
      node("x", "Placeholder", [], FLOAT, "/job:worker/task:3"),
      node("y", "Relu", ["x"], {}, "/job:ps/replica:0/task:1/device:CPU:0"),
    ]);
    assert.deepEqual(
      whole(metaGraph)
        .graphDef.node.map(({ name, device }) => `${name} ${device}`)
        .sort(),
      ["x ", "y /device:CPU:0"],
    );
  });

  it("refuses a graph that refers to what it does not have", () => {
    assert.throws(
      () => whole(meta([node("x", "Placeholder", [], FLOAT), node("y", "Relu", ["gone"])])),
      (error) => isServingError(error, "GRAPH_INVALID") && /"gone"/.test(error.message),
    );
  });
});

describe("exportNode", () => {
  /** Attributes as plain data, tensors as their encoding. */
  function plain({ attrs }: GraphNode): unknown {
    const tensorOf = (value: unknown) =>
      typeof value === "object" && value !== null && "get" in value ? (value as { get(): Tensor }).get() : value;
    return [...attrs.entries()]
      .filter(([name]) => !name.startsWith("_"))
      .map(([name, value]) => {
        const whole = tensorOf(value);
        return [
          name,
          typeof whole === "object" && whole !== null && "dtype" in whole ? encodeTensorProto(whole as Tensor) : whole,
        ];
      })
      .sort(([a], [b]) => ((a as string) < (b as string) ? -1 : 1));
  }

  for (const model of ["wide-deep", "dlrm", "half-plus-two"]) {
    it(`writes the nodes of ${model} as they were read`, async () => {
      const saved = await readSavedModel(join(REPO_DIR, "test/fixtures/models", model, "1"));
      const { graph } = runAtOnce(importGraph(saved.message.metaGraphs[0]!.graphDef!));
      let count = 0;
      for (const original of graph.values()) {
        if (/Call$|^(Save|Restore)/.test(original.op)) continue; // functions have no place in a segment
        const def = exportNode(original, original.name, new Map(), ({ node: name, index }) => `${name}:${index}`);
        const [again] = runAtOnce(
          importGraph({ ...saved.message.metaGraphs[0]!.graphDef!, node: [def] }),
        ).graph.values();
        assert.deepEqual(again!.inputs, original.inputs);
        const names = new Set([...original.attrs.entries()].map(([name]) => name));
        const own = {
          ...again!,
          attrs: { entries: () => [...again!.attrs.entries()].filter(([name]) => names.has(name)) },
        };
        assert.deepEqual(plain(own as never), plain(original), original.name);
        count++;
      }
      assert.ok(count > 3);
    });
  }

  it("fills in what passes left to be inferred", () => {
    const info = (dtype: DType) => ({ dtype, shape: undefined });
    const infos = new Map([
      ["a", info("int64")],
      ["b", info("int64")],
      ["axis", info("int32")],
      ["joined", info("int64")],
    ]);
    const { graph } = runAtOnce(importGraph(meta([node("joined", "ConcatV2", ["a", "b", "axis"])]).graphDef!));
    const def = exportNode(graph.get("joined")!, "joined", infos, ({ node: name }) => name);
    assert.deepEqual(def.attr["N"]?.value, { case: "i", value: 2n });
    assert.deepEqual(def.attr["T"]?.value, { case: "type", value: 9 });
    assert.deepEqual(def.attr["Tidx"]?.value, { case: "type", value: 3 });
  });
});
