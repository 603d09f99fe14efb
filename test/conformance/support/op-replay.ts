import { ServingError } from "@shardserve/core";
import {
  Attrs,
  contextOf,
  type DeviceStep,
  type GraphNode,
  type HostState,
  decompose,
  infer,
  type Inference,
  type NodeContext,
  opDef,
  type Program,
} from "@shardserve/graph";
import { hostKernels } from "@shardserve/host-ops";
import { loadOrt } from "@shardserve/native";
import { constantBytes, deviceSupports, lowerSegment } from "@shardserve/onnx";
import { bfloatToNumber, type DType, halfToNumber, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import type { OpCase } from "./op-cases.js";

/** What became of one case on one side: `refused` where the compiler would not send the node there, with the reason. */
export type Verdict =
  | { readonly kind: "equal" }
  | { readonly kind: "refused"; readonly why: string }
  | { readonly kind: "wrong"; readonly why: string };

const EQUAL: Verdict = { kind: "equal" };

/** Runs a case on the host. */
export async function onHost(item: OpCase): Promise<Verdict> {
  const { node, program, inference } = situation(item, false, []);
  const nodes = inference.order.filter(({ op }) => op !== "Placeholder");
  const supported = worksOn(nodes, program, inference, (each, context) =>
    hostKernels.get(each.op) ? hostKernels.supports(each, context) : "no kernel",
  );
  if (supported !== true) return { kind: "refused", why: supported };
  const values = new Map(item.inputs.map((value, i) => [`in${i}`, [value] as readonly Tensor[]]));
  try {
    for (const each of nodes) {
      const inputs = each.inputs.map((ref) => values.get(ref.node)![ref.index]!);
      const results = await hostKernels.get(each.op)!({ node: each, inputs, state: emptyState() });
      values.set(each.name, results as readonly Tensor[]);
    }
    const outputs = values.get(node.name)!;
    const wanted = item.promised ?? item.outputs?.map((_, i) => i) ?? [];
    return compare(
      item,
      wanted.map((index) => outputs[index]!),
      wanted,
    );
  } catch (error) {
    return failed(item, error, (code) => item.error === "ANY" || code === item.error);
  }
}

/** Runs a case on the device with what the compiler may know: all shapes and the parameters, or nothing. */
export async function onDevice(item: OpCase, knows: "shapes" | "nothing"): Promise<Verdict> {
  const isConstant: readonly boolean[] = item.constants ?? (knows === "shapes" ? parameters(item) : []);
  const { node, program, inference } = situation(item, knows === "shapes", isConstant);
  const supported = worksOn(computing(program), program, inference, deviceSupports);
  if (supported !== true) return { kind: "refused", why: supported };
  const outputCount = contextOf(node, inference, program)!.outputs.length;
  const wanted = item.promised ?? Array.from({ length: item.outputs?.length ?? outputCount }, (_, i) => i);
  const step: DeviceStep = {
    kind: "device",
    id: "step",
    nodes: [...program.graph.values()].filter(({ op }) => op !== "Placeholder"),
    inputs: item.inputs.flatMap((_, i) => (isConstant[i] ? [] : [{ node: `in${i}`, index: 0 }])),
    outputs: wanted.map((index) => ({ node: node.name, index })),
    variables: new Map(),
  };
  try {
    const outputs = await run(
      step,
      inference,
      item.inputs.filter((_, i) => !isConstant[i]),
    );
    return compare(item, outputs.map(asQuantized(item, wanted)), wanted);
  } catch (error) {
    return failed(item, error, (code) => code === "ENGINE_FAILED");
  }
}

/** Whether the compiler may send a case's node to the device, knowing all shapes. */
export function isForDevice(item: OpCase): boolean {
  const { program, inference } = situation(item, true, item.constants ?? parameters(item));
  return worksOn(computing(program), program, inference, deviceSupports) === true;
}

function computing(program: Program): GraphNode[] {
  return [...program.graph.values()].filter(({ op }) => op !== "Placeholder" && op !== "Const");
}

/** True where a side takes each of some nodes, else why not. */
function worksOn(
  nodes: readonly GraphNode[],
  program: Program,
  inference: Inference,
  supports: (node: GraphNode, context: NodeContext) => true | string,
): true | string {
  for (const node of nodes) {
    const context = contextOf(node, inference, program);
    const supported = context ? supports(node, context) : "its types are unknown";
    if (supported !== true) return supported;
  }
  return true;
}

/** Holds what the compiler infers of a case against what came out: dtypes, shapes, known values. */
export function inferenceError(item: OpCase): string | undefined {
  if (!item.outputs) return undefined;
  const knowledge: readonly (readonly boolean[])[] = [[], parameters(item), item.inputs.map(() => true)];
  for (const isConstant of knowledge) {
    const { node, inference } = situation(item, true, isConstant);
    for (const [index, output] of item.outputs.entries()) {
      const ref = { node: node.name, index };
      const info = inference.info(ref);
      if (!info) continue;
      if (info.dtype !== output.dtype) return `output ${index} is ${output.dtype}, inferred ${info.dtype}`;
      const fits =
        !info.shape ||
        (info.shape.length === output.shape.length && info.shape.every((dim, i) => dim < 0 || dim === output.shape[i]));
      if (!fits) return `output ${index} is [${output.shape.join()}], inferred [${info.shape!.join()}]`;
      const known = inference.value(ref)?.values ?? [];
      const actual = numbersOf(output);
      const wrong = known.findIndex((value, i) => value !== undefined && value !== Number(actual[i]));
      if (wrong >= 0) return `element ${wrong} of output ${index} is ${actual[wrong]}, inferred ${known[wrong]}`;
    }
  }
  return undefined;
}

/** Inputs that a graph mostly has as constants: those that are not of the dtype that the op computes in. */
function parameters({ op, inputs }: OpCase): boolean[] {
  const def = opDef(op);
  if (!def) return inputs.map(() => false);
  const main = def.inputs[0]?.typeAttr ?? def.inputs[0]?.typeListAttr;
  if (def.inputs.length === 1) return inputs.map(() => false);
  const isFirst = (name: string | undefined): boolean => name === undefined || name === main;
  const flat = def.inputs.flatMap((arg) => {
    const isParameter = !isFirst(arg.typeAttr ?? arg.typeListAttr) || (arg.dtype === "int32" && !arg.typeAttr);
    return arg.numberAttr || arg.typeListAttr ? [] : [isParameter];
  });
  // Lists make positions unsure; then the last inputs are what they are in the definition.
  return inputs.map((value, i) => {
    const at = flat.length === inputs.length ? i : i - inputs.length + def.inputs.length;
    const arg = def.inputs[at];
    if (!arg || arg.numberAttr || arg.typeListAttr) return false;
    return value.dtype !== "string" && (flat[at] ?? !isFirst(arg.typeAttr));
  });
}

interface Situation {
  readonly node: GraphNode;
  readonly program: Program;
  readonly inference: Inference;
}

function situation(item: OpCase, hasShapes: boolean, isConstant: readonly boolean[]): Situation {
  const leaves = item.inputs.map((value, i): GraphNode => {
    const leaf = { name: `in${i}`, inputs: [], controls: [] };
    return isConstant[i]
      ? { ...leaf, op: "Const", attrs: new Attrs("Const", { value, dtype: value.dtype }) }
      : {
          ...leaf,
          op: "Placeholder",
          attrs: new Attrs("Placeholder", { dtype: value.dtype, shape: hasShapes ? value.shape : null, fed: true }),
        };
  });
  const inputs = leaves.map(({ name }) => ({ node: name, index: 0 }));
  const node: GraphNode = { name: "node", op: item.op, inputs, controls: [], attrs: item.attrs };
  const graph = new Map([...leaves, node].map((each) => [each.name, each]));
  const program = decompose({ graph, outputs: [{ node: "node", index: 0 }], targets: [] });
  return { node: program.graph.get("node")!, program, inference: infer(program) };
}

async function run(step: DeviceStep, inference: Inference, fed: readonly Tensor[]): Promise<Tensor[]> {
  using session = await loadOrt().createSession(lowerSegment(step, inference.infos).encode(constantBytes));
  return session.runOnTensors(fed);
}

/** What an engine gives for quantised integers are plain ones. */
function asQuantized({ outputs }: OpCase, wanted: readonly number[]): (value: Tensor, i: number) => Tensor {
  return (value, i) => {
    const dtype = outputs?.[wanted[i]!]?.dtype;
    return dtype === `q${value.dtype}` ? tensor(dtype as "qint32", value.shape, value.data as never) : value;
  };
}

function failed({ error: expected }: OpCase, error: unknown, isRight: (code: string) => boolean): Verdict {
  if (!(error instanceof ServingError)) throw error;
  if (expected === undefined) return { kind: "wrong", why: `${error.code}: ${error.message}` };
  return isRight(error.code) ? EQUAL : { kind: "wrong", why: `${error.code} instead of ${expected}: ${error.message}` };
}

/** @param wanted  which outputs of the op `actual` are */
function compare(item: OpCase, actual: readonly Tensor[], wanted: readonly number[]): Verdict {
  if (!item.outputs) return { kind: "wrong", why: `TensorFlow refuses it: ${item.error}` };
  for (const [k, index] of wanted.entries()) {
    const why = actual[k] ? differenceOf(actual[k], item.outputs[index]!, item.tolerance) : "is missing";
    if (why !== undefined) return { kind: "wrong", why: `output ${index} ${why}` };
  }
  return EQUAL;
}

/** Of the largest magnitude, at least of 1. */
const TOLERANCES: Partial<Record<DType, number>> = {
  float32: 1e-5,
  complex64: 1e-5,
  float64: 1e-12,
  complex128: 1e-12,
  float16: 2e-3,
  bfloat16: 1.6e-2,
};

function differenceOf(actual: Tensor, expected: Tensor, stated: number | undefined): string | undefined {
  if (actual.dtype !== expected.dtype) return `is ${actual.dtype}, not ${expected.dtype}`;
  if (actual.shape.length !== expected.shape.length || actual.shape.some((dim, i) => dim !== expected.shape[i])) {
    return `is [${actual.shape.join()}], not [${expected.shape.join()}]`;
  }
  if (expected.data instanceof StringColumn) {
    const column = actual.data as StringColumn;
    for (let i = 0; i < expected.data.length; i++) {
      if (!Buffer.from(column.at(i)).equals(expected.data.at(i))) return `has another string at ${i}`;
    }
    return undefined;
  }
  const tolerance = TOLERANCES[expected.dtype] && Math.max(TOLERANCES[expected.dtype]!, stated ?? 0);
  const [got, want] = [numbersOf(actual), numbersOf(expected)];
  const scale = want.reduce<number>((a, b) => (Number.isFinite(b) ? Math.max(a, Math.abs(Number(b))) : a), 1);
  for (let i = 0; i < want.length; i++) {
    const [a, b] = [got[i]!, want[i]!];
    const isClose = tolerance !== undefined && Math.abs(Number(a) - Number(b)) <= tolerance * scale;
    if (a !== b && !isClose && !(Number.isNaN(a) && Number.isNaN(b))) return `has ${a} at ${i}, not ${b}`;
  }
  return undefined;
}

function numbersOf({ dtype, data }: Tensor): readonly (number | bigint)[] {
  if (data instanceof StringColumn) return [];
  const values: (number | bigint)[] = [...(data as Iterable<number | bigint>)];
  if (dtype === "float16") return values.map((bits) => halfToNumber(Number(bits)));
  if (dtype === "bfloat16") return values.map((bits) => bfloatToNumber(Number(bits)));
  return values;
}

function emptyState(): HostState {
  return {
    resources: new Map(),
    variables: new Map(),
    readFile: () => Promise.reject(new ServingError("NOT_FOUND", "a case has no files")),
  };
}
