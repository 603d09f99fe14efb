import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  Attrs,
  type AttrValue,
  type DeviceStep,
  type GraphNode,
  opDef,
  refKey,
  type ValueInfo,
} from "@shardserve/graph";
import { loadOrt } from "@shardserve/native";
import { constantBytes, lowerSegment } from "@shardserve/onnx";
import { type OpGoldenTensor, opGoldenTensor } from "@shardserve/testkit";
import { dtypeFromTf, type Tensor } from "@shardserve/tensor";

/** Single ops and what TensorFlow answered (scripts/make_lowering_goldens.py), as device steps. */

export interface GoldenTensor extends OpGoldenTensor {
  readonly d: number;
  /** A constant of the graph. */
  readonly c?: 1;
}
export interface GoldenCase {
  readonly op: string;
  readonly attrs: Record<string, AttrValue>;
  readonly in: GoldenTensor[];
  readonly out?: GoldenTensor[];
  readonly error?: 1;
  readonly only?: number[];
}

/** How much the compiler knows about shapes: a lowering must be right, or say no, in all three. */
export const KNOWLEDGE = ["static shapes", "ranks only", "nothing"] as const;
export type Knowledge = (typeof KNOWLEDGE)[number];

const ROOT = join(import.meta.dirname, "../../test/goldens");

/** Cases by family. */
export function goldenCases(): Map<string, GoldenCase[]> {
  return new Map(
    readdirSync(ROOT).map((file) => [
      file.replace(/golden-(.*)\.json/, "$1"),
      JSON.parse(readFileSync(join(ROOT, file), "utf8")) as GoldenCase[],
    ]),
  );
}

export function build(golden: GoldenCase, knowledge: Knowledge) {
  const infos = new Map<string, ValueInfo>();
  const nodes: GraphNode[] = [];
  const fed: Tensor[] = [];
  const inputs = golden.in.map((entry, i) => {
    const value = opGoldenTensor(entry);
    const ref = { node: `in${i}`, index: 0 };
    const shape =
      knowledge === "static shapes" ? entry.s : knowledge === "ranks only" ? entry.s.map(() => -1) : undefined;
    infos.set(refKey(ref), { dtype: value.dtype, shape: entry.c ? entry.s : shape });
    if (entry.c) {
      const attrs = new Attrs("Const", { value, dtype: entry.d });
      nodes.push({ name: ref.node, op: "Const", inputs: [], controls: [], attrs });
    } else {
      fed.push(value);
    }
    return { ref, isFed: !entry.c };
  });
  const node = {
    name: "node",
    op: golden.op,
    inputs: inputs.map((input) => input.ref),
    controls: [],
    attrs: new Attrs(golden.op, golden.attrs),
  };
  const outputCount = golden.out?.length ?? opDef(golden.op)!.outputs.length;
  for (let index = 0; index < outputCount; index++) {
    const expected = golden.out?.[index];
    const dtype = expected ? dtypeFromTf(expected.d) : opGoldenTensor(golden.in.at(-1)!).dtype;
    const shape = expected && knowledge === "static shapes" ? expected.s : undefined;
    infos.set(refKey({ node: "node", index }), { dtype, shape });
  }
  nodes.push(node);
  const wanted = golden.only ?? Array.from({ length: outputCount }, (_, i) => i);
  const step: DeviceStep = {
    kind: "device",
    id: "step",
    nodes,
    inputs: inputs.filter((input) => input.isFed).map((input) => input.ref),
    outputs: wanted.map((index) => ({ node: "node", index })),
    variables: new Map(),
  };
  const context = {
    inputs: node.inputs.map((ref) => infos.get(refKey(ref))!),
    outputs: Array.from({ length: outputCount }, (_, index) => infos.get(refKey({ node: "node", index }))!),
    constant: (i: number) => (golden.in[i]?.c ? opGoldenTensor(golden.in[i]) : undefined),
  };
  return { step, infos, fed, node, context, wanted };
}

/** A run's answer; a lowering may also leave an impossible constant to ONNX Runtime's loader. */
export async function answer(
  step: DeviceStep,
  infos: ReadonlyMap<string, ValueInfo>,
  fed: readonly Tensor[],
): Promise<Tensor[]> {
  const lowered = lowerSegment(step, infos);
  using session = await loadOrt().createSession(lowered.encode(constantBytes));
  return session.runOnTensors(fed);
}
