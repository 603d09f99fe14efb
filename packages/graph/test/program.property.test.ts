import assert from "node:assert/strict";
import fc from "fast-check";
import { Attrs } from "../src/ir/attrs.js";
import type { GraphNode } from "../src/ir/ir.js";
import { type Program, prune, topologicalOrder } from "../src/ir/program.js";

/** Random acyclic graphs: node i takes data and control edges from nodes below i, stored in shuffled order. */
const programs = fc
  .array(fc.record({ data: fc.array(fc.nat(), { maxLength: 3 }), controls: fc.array(fc.nat(), { maxLength: 2 }) }), {
    minLength: 1,
    maxLength: 40,
  })
  .chain((shape) => {
    const nodes = shape.map(({ data, controls }, i): GraphNode => {
      const below = (list: number[]): string[] => (i === 0 ? [] : list.map((item) => `n${item % i}`));
      const inputs = below(data).map((node) => ({ node, index: 0 }));
      return { name: `n${i}`, op: "AddN", inputs, controls: below(controls), attrs: new Attrs("AddN") };
    });
    return fc.record({
      nodes: fc.shuffledSubarray(nodes, { minLength: nodes.length }),
      outputs: fc.subarray(nodes, { minLength: 1 }),
      targets: fc.subarray(nodes),
    });
  })
  .map(
    ({ nodes, outputs, targets }): Program => ({
      graph: new Map(nodes.map((node) => [node.name, node])),
      outputs: outputs.map(({ name }) => ({ node: name, index: 0 })),
      targets: targets.map(({ name }) => name),
    }),
  );

/** The slow twin: grows the set of needed nodes until it stays the same. */
function needed(program: Program): Set<string> {
  const names = new Set([...program.targets, ...program.outputs.map(({ node }) => node)]);
  for (let before = -1; before !== names.size; ) {
    before = names.size;
    for (const name of names) {
      const node = program.graph.get(name)!;
      for (const { node: input } of node.inputs) names.add(input);
      for (const control of node.controls) names.add(control);
    }
  }
  return names;
}

describe("graph walks, against slow twins", () => {
  it("prune keeps exactly what is reachable", () => {
    fc.assert(
      fc.property(programs, (program) => {
        assert.deepEqual(new Set(prune(program).graph.keys()), needed(program));
      }),
    );
  });

  it("a topological order holds every needed node once, after all that it needs", () => {
    fc.assert(
      fc.property(programs, (program) => {
        const order = topologicalOrder(program).map(({ name }) => name);
        assert.deepEqual(new Set(order), needed(program));
        const position = new Map(order.map((name, i) => [name, i]));
        assert.equal(position.size, order.length);
        for (const name of order) {
          const node = program.graph.get(name)!;
          for (const before of [...node.inputs.map((ref) => ref.node), ...node.controls]) {
            assert.ok(position.get(before)! < position.get(name)!, `${before} before ${name}`);
          }
        }
      }),
    );
  });
});
