import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { tensor } from "@shardserve/tensor";
import { Attrs, type AttrValue } from "../src/ir/attrs.js";
import { infer } from "../src/infer/infer.js";
import type { GraphNode, Program, TensorRef } from "../src/ir/ir.js";
import { mergeEqual } from "../src/passes/rewrites/merge-equal.js";

const ref = (text: string): TensorRef => ({ node: text.split(":")[0]!, index: Number(text.split(":")[1] ?? 0) });

function node(
  name: string,
  op: string,
  inputs: readonly string[],
  attrs: Readonly<Record<string, AttrValue>> = {},
  controls: readonly string[] = [],
): GraphNode {
  return { name, op, inputs: inputs.map(ref), controls, attrs: new Attrs(op, attrs) };
}

const FED = node("x", "Placeholder", [], { dtype: "float32", shape: [-1, 4], fed: true });
const axis = (name: string, value: number, controls: readonly string[] = []): GraphNode =>
  node(name, "Const", [], { dtype: "int32", value: tensor("int32", [1], Int32Array.of(value)) }, controls);
const T = { T: "float32" };

function merged(nodes: readonly GraphNode[], outputs: readonly string[]): Program {
  const program: Program = {
    graph: new Map(nodes.map((item) => [item.name, item])),
    outputs: outputs.map(ref),
    targets: [],
  };
  return runAtOnce(mergeEqual(program, infer(program)));
}

describe("mergeEqual", () => {
  it("asks attributes that nodes of several ops share for all that each op has", () => {
    const kept = (keep_dims: boolean) => new Attrs("Sum", { ...T, Tidx: "int32", keep_dims });
    const pair = ([first, second]: readonly string[], op: string, inputs: readonly string[]): GraphNode[] => [
      { ...node(first!, op, inputs), attrs: narrow },
      { ...node(second!, op, inputs), attrs: wide },
    ];
    const [narrow, wide] = [kept(false), kept(true)];
    const nodes = [FED, axis("one", 1), ...pair(["a", "b"], "Neg", ["x"]), ...pair(["c", "d"], "Sum", ["x", "one"])];
    const { outputs } = merged(nodes, ["a", "b", "c", "d"]);
    assert.deepEqual(
      outputs.map((output) => output.node),
      ["a", "a", "c", "d"],
    );
  });

  it("lets equal ops of equal inputs share one node, whatever their constants are called", () => {
    const { graph, outputs } = merged(
      [
        FED,
        axis("one", 1),
        axis("uno", 1),
        axis("zero", 0),
        node("a", "Max", ["x", "one"], T),
        node("b", "Max", ["x", "uno"], T),
        node("c", "Max", ["x", "zero"], T),
        node("d", "Max", ["x", "uno"], { ...T, keep_dims: true }),
        node("sum", "AddN", ["a", "b"], { ...T, N: 2 }),
      ],
      ["sum", "b", "c", "d"],
    );
    assert.deepEqual([...graph.keys()].sort(), ["a", "c", "d", "one", "sum", "x", "zero"]);
    assert.deepEqual(
      graph.get("sum")!.inputs.map(({ node: name }) => name),
      ["a", "a"],
    );
    assert.deepEqual(
      outputs.map(({ node: name }) => name),
      ["sum", "a", "c", "d"],
    );
  });

  it("leaves alone what is random, fed, or waits for an effect", () => {
    const shape = node("shape", "Const", [], { dtype: "int32", value: tensor("int32", [1], Int32Array.of(2)) });
    const random = (name: string) => node(name, "RandomUniform", ["shape"], { T: "int32", dtype: "float32" });
    const { graph } = merged(
      [
        FED,
        { ...FED, name: "y" },
        shape,
        random("r"),
        random("s"),
        node("check", "NoOp", []),
        node("p", "Relu", ["x"], T, ["check"]),
        node("q", "Relu", ["x"], T, ["check"]),
      ],
      ["r", "s", "p", "q", "y"],
    );
    for (const name of ["r", "s", "p", "q", "x", "y"]) assert.ok(graph.has(name), name);
  });

  it("frees constants of the checks before them, and keeps the checks", () => {
    const holds = node("holds", "Const", [], { dtype: "bool", value: tensor("bool", [], Uint8Array.of(1)) });
    const check = node("check", "Assert", ["holds", "x"], { T: [1] });
    const { graph, targets } = merged(
      [
        FED,
        holds,
        check,
        axis("one", 1),
        axis("uno", 1, ["check"]),
        node("a", "Max", ["x", "one"], T),
        node("b", "Max", ["x", "uno"], T),
      ],
      ["a", "b"],
    );
    assert.deepEqual(targets, ["check"]);
    assert.ok(graph.has("check") && !graph.has("b"));
  });
});
