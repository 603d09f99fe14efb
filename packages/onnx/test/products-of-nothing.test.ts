import assert from "node:assert/strict";
import { Attrs, type DeviceStep, type GraphNode, infer, type Program } from "@shardserve/graph";
import { loadOrt } from "@shardserve/native";
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { lowerSegment, constantBytes } from "../src/index.js";

function filled(shape: readonly number[]): Tensor {
  return tensor("float32", shape, new Float32Array(elementCount(shape)).fill(1));
}

function node(
  name: string,
  op: string,
  inputs: readonly string[],
  attrs: ConstructorParameters<typeof Attrs>[1],
): GraphNode {
  return {
    name,
    op,
    inputs: inputs.map((from) => ({ node: from, index: 0 })),
    controls: [],
    attrs: new Attrs(op, attrs),
  };
}

function placeholders(...shapes: readonly (readonly number[])[]): GraphNode[] {
  return shapes.map((shape, i) => node(`in${i}`, "Placeholder", [], { dtype: "float32", shape, fed: true }));
}

function product(y: string, isTransposed: readonly [boolean, boolean]): GraphNode {
  const [adj_x, adj_y] = isTransposed;
  return node("product", "BatchMatMulV2", ["in0", y], { T: "float32", adj_x, adj_y });
}

/** A session of a graph of two inputs whose last node is its answer, as a function. */
async function sessionOf(leaves: readonly GraphNode[], nodes: readonly GraphNode[]) {
  const outputs = [{ node: nodes.at(-1)!.name, index: 0 }];
  const graph = new Map([...leaves, ...nodes].map((each) => [each.name, each]));
  const program: Program = { graph, outputs, targets: [] };
  const inputs = leaves.map(({ name }) => ({ node: name, index: 0 }));
  const step: DeviceStep = { kind: "device", id: "step", nodes, inputs, outputs, variables: new Map() };
  const model = lowerSegment(step, infer(program).infos).encode(constantBytes);
  const session = await loadOrt().createSession(model);
  const run = (...feeds: readonly Tensor[]): Tensor => session.runOnTensors(feeds)[0]!;
  return { run, [Symbol.dispose]: () => session[Symbol.dispose]() };
}

describe("matrix products with nothing to add up", () => {
  const turned = (...order: readonly number[]): GraphNode[] => [
    node("order", "Const", [], { dtype: "int32", value: tensor("int32", [3], Int32Array.from(order)) }),
    node("y", "Transpose", ["in1", "order"], { T: "float32", Tperm: "int32" }),
  ];
  const graphs: readonly (readonly [string, readonly GraphNode[], readonly [boolean, boolean]])[] = [
    ["plain", [product("in1", [false, false])], [false, false]],
    ["transposed on the left", [product("in1", [true, false])], [true, false]],
    ["transposed on the right", [product("in1", [false, true])], [false, true]],
    ["transposed by a node of its own", [...turned(0, 2, 1), product("y", [false, false])], [false, true]],
  ];

  for (const [name, nodes, [left, right]] of graphs) {
    it(`are zeros, never what the answer before left in memory: ${name}`, async () => {
      const feeds = (k: number) => [filled(left ? [3, k, 40] : [3, 40, k]), filled(right ? [3, 60, k] : [3, k, 60])];
      const open = [-1, -1, -1];
      using session = await sessionOf(placeholders(open, open), nodes);
      for (let i = 0; i < 5; i++) {
        assert.equal((session.run(...feeds(7)).data as Float32Array)[0], 7);
        assert.deepEqual(session.run(...feeds(0)), tensor("float32", [3, 40, 60], new Float32Array(3 * 40 * 60)));
      }
    });
  }
});

describe("matrix products of a batch without examples", () => {
  const ways: readonly (readonly [string, readonly [boolean, boolean]])[] = [
    ["", [false, false]],
    [", transposed", [false, true]],
    [", behind transposed examples", [true, false]],
  ];
  for (const [way, [left, right]] of ways) {
    for (const ones of [[], [1]]) {
      it(`take a factor [${[...ones, "k", "n"].join(", ")}] that is the same for all examples${way}`, async () => {
        const [row, factor] = [left ? [3, 2] : [2, 3], [...ones, ...(right ? [4, 3] : [3, 4])]];
        using session = await sessionOf(placeholders([-1, ...row], factor), [product("in1", [left, right])]);
        for (const batch of [0, 5]) {
          const expected = tensor("float32", [batch, 2, 4], new Float32Array(8 * batch).fill(3));
          assert.deepEqual(session.run(filled([batch, ...row]), filled(factor)), expected);
        }
      });
    }
  }

  const anyRank = [0, 1].map((i) => node(`in${i}`, "Placeholder", [], { dtype: "float32", fed: true }));
  /** Factors and their product; undefined where they do not fit. */
  const shapes: readonly (readonly [readonly number[], readonly number[], readonly number[] | undefined])[] = [
    [
      [1, 2, 3],
      [0, 3, 4],
      [0, 2, 4],
    ],
    [
      [0, 2, 3],
      [1, 3, 4],
      [0, 2, 4],
    ],
    [
      [0, 2, 3],
      [3, 4],
      [0, 2, 4],
    ],
    [
      [2, 3],
      [5, 0, 3, 4],
      [5, 0, 2, 4],
    ],
    [
      [3, 2, 0],
      [1, 0, 4],
      [3, 2, 4],
    ],
    [
      [3, 0, 2],
      [2, 4],
      [3, 0, 4],
    ],
    [
      [3, 2, 3],
      [1, 3, 4],
      [3, 2, 4],
    ],
    [[0, 2, 3], [0, 4, 4], undefined],
    [[0, 2, 3], [2, 3, 4], undefined],
  ];
  for (const [way, isTransposed] of [...ways, [", both transposed", [true, true]] as const]) {
    it(`take factors whose ranks only a run knows${way}`, async () => {
      using session = await sessionOf(anyRank, [product("in1", isTransposed)]);
      const swapped = (shape: readonly number[], isSwapped: boolean): readonly number[] =>
        isSwapped ? [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!] : shape;
      for (const [left, right, expected] of shapes) {
        const pair = JSON.stringify([left, right]);
        const run = () => session.run(filled(swapped(left, isTransposed[0])), filled(swapped(right, isTransposed[1])));
        if (!expected) {
          assert.throws(run, pair);
          continue;
        }
        const values = new Float32Array(elementCount(expected)).fill(left.at(-1)!);
        assert.deepEqual(run(), tensor("float32", expected, values), pair);
      }
    });
  }
});
