import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Attrs, type AttrValue, type DeviceStep, type GraphNode, infer, type TensorRef } from "@shardserve/graph";
import { answer, type GoldenTensor } from "./golden-cases.js";
import { opGoldenTensor } from "@shardserve/testkit";

/** Chains of ops on 16-bit floats and what TensorFlow answered (scripts/make_chain_goldens.py): each op rounds. */

interface Chain {
  readonly dtype: string;
  /** Of float32, as the output is: the nodes cast. */
  readonly in: readonly GoldenTensor[];
  readonly nodes: readonly {
    readonly op: string;
    readonly attrs: Readonly<Record<string, AttrValue>>;
    /** Values: first the inputs, then the nodes' results. */
    readonly in: readonly number[];
    readonly constant?: GoldenTensor;
  }[];
  readonly out: GoldenTensor;
}

const PATH = join(import.meta.dirname, "../../test/testdata/golden-chains.json");

function ref(value: number): TensorRef {
  return { node: `v${value}`, index: 0 };
}

function graphOf({ in: inputs, nodes }: Chain): GraphNode[] {
  const placeholders = inputs.map(({ s }, i): GraphNode => {
    const attrs = new Attrs("Placeholder", { dtype: "float32", shape: s, fed: true });
    return { name: `v${i}`, op: "Placeholder", inputs: [], controls: [], attrs };
  });
  const computed = nodes.map(({ op, attrs, in: from, constant }, i): GraphNode => {
    const value = constant && opGoldenTensor(constant);
    const own = value ? { dtype: value.dtype, value } : attrs;
    return { name: `v${inputs.length + i}`, op, inputs: from.map(ref), controls: [], attrs: new Attrs(op, own) };
  });
  return [...placeholders, ...computed];
}

describe("chains of ops on 16-bit floats", () => {
  for (const chain of JSON.parse(readFileSync(PATH, "utf8")) as Chain[]) {
    it(`${chain.dtype}: ${chain.nodes.map(({ op }) => op).join(", ")}`, async () => {
      const nodes = graphOf(chain);
      const outputs = [ref(nodes.length - 1)];
      const { infos } = infer({ graph: new Map(nodes.map((node) => [node.name, node])), outputs, targets: [] });
      const step: DeviceStep = {
        kind: "device",
        id: "test",
        nodes: nodes.slice(chain.in.length),
        inputs: chain.in.map((_, i) => ref(i)),
        outputs,
        variables: new Map(),
      };
      const [output] = await answer(step, infos, chain.in.map(opGoldenTensor));
      assert.deepEqual(output, opGoldenTensor(chain.out));
    });
  }
});
