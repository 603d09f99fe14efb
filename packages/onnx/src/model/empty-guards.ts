import { create, onnx } from "@shardserve/api";
import { changedNode, innerGraphs, intAttribute, isOp, nodeName } from "./model-graph.js";

/** Ends the name of a node that refuses a tensor without elements; the name before it is the exporter's. */
export const EMPTY_LABEL = "Empty";
/** From this opset of ONNX's own operators on, Slice takes its bounds as inputs, and TopK its count. */
const BOUNDS_ARE_INPUTS = 10n;

/**
 * Kernels of ONNX Runtime that end the process where their first input has no elements: a division by zero, an exception on a
 * thread of its own (docs/decisions/031). A request decides that: an empty batch, a picture without detections.
 */
const REFUSED = ["LSTM", "GRU", "DFT", "Unique"];

/** All guarded operators. */
export const GUARDED_OPS: readonly string[] = [...REFUSED, "TopK"];

/**
 * Keeps tensors without elements away from kernels that end the process, in the main graph and in branches and bodies. TopK
 * answers them (with as few elements); the others refuse the request by {@link EMPTY_LABEL}.
 *
 * @returns whether there was such a kernel
 */
export function guardEmpty(model: onnx.ModelProto & { graph: onnx.GraphProto }): boolean {
  const { version = 1n } = model.opsetImport.find(({ domain }) => domain === "" || domain === "ai.onnx") ?? {};
  const names = new Names();
  let isChanged = false;
  const graphs = [model.graph];
  for (let graph = graphs.pop(); graph; graph = graphs.pop()) {
    for (const node of graph.node) graphs.push(...innerGraphs(node));
    const guarded = graph.node.flatMap((node) => guard(node, version, names) ?? [node]);
    if (guarded.length === graph.node.length) continue;
    graph.node = guarded;
    isChanged = true;
  }
  return isChanged;
}

/** Fresh names of values. */
class Names {
  #count = 0;

  next(): string {
    return `shardserve/guard/${this.#count++}`;
  }
}

function guard(node: onnx.NodeProto, opset: bigint, names: Names): onnx.NodeProto[] | undefined {
  if (isOp(node, "TopK")) return topK(node, opset, names);
  if (!REFUSED.some((op) => isOp(node, op))) return undefined;
  if (isOp(node, "Unique") && !node.attribute.some(({ name }) => name === "axis")) return undefined;
  const [x = "", ...others] = node.input;
  const kept = names.next();
  const refuse = [constant("at", [REFUSED_INDEX]), op("Gather", [x, "at"], ["none"])];
  return [
    ...ifSome(`${nodeName(node)}/${EMPTY_LABEL}_0`, x, [kept], names, {
      some: { nodes: [op("Identity", [x], ["same"])], outputs: ["same"] },
      none: { nodes: refuse, outputs: ["none"] },
    }),
    changedNode(node, { input: [kept, ...others] }),
  ];
}

/** Outside of any dimension. */
const REFUSED_INDEX = 2n ** 40n;

/** The greatest of no elements: the first K, of which there are as few. */
function topK(node: onnx.NodeProto, opset: bigint, names: Names): onnx.NodeProto[] {
  const [x = "", count = ""] = node.input;
  const axis = intAttribute(node, "axis", -1);
  const slice =
    opset >= BOUNDS_ARE_INPUTS
      ? [
          constant("first", [0n]),
          constant("axis", [BigInt(axis)]),
          op("Slice", [x, "first", count, "axis"], ["values"]),
        ]
      : [
          op(
            "Slice",
            [x],
            ["values"],
            [ints("starts", [0]), ints("ends", [intAttribute(node, "k", 0)]), ints("axes", [axis])],
          ),
        ]; // prettier-ignore
  const none = [...slice, op("Cast", ["values"], ["indices"], [int("to", INT64)])];
  const outputs = ["values", "indices"];
  const most = changedNode(node, { output: outputs });
  const [values = "", indices = ""] = node.output;
  return ifSome(nodeName(node), x, [values || names.next(), indices || names.next()], names, {
    some: { nodes: [most], outputs },
    none: { nodes: none, outputs },
  });
}

const INT64 = 7;

interface Branch {
  readonly nodes: readonly onnx.NodeProto[];
  readonly outputs: readonly string[];
}

/** One branch where `x` has elements, another where it has none. */
function ifSome(
  name: string,
  x: string,
  outputs: readonly string[],
  names: Names,
  branches: { readonly some: Branch; readonly none: Branch },
): onnx.NodeProto[] {
  const [size, zero, isSome] = [names.next(), names.next(), names.next()];
  const graph = (attribute: string, { nodes, outputs: results }: Branch) => {
    // Names inside a branch must not hide any of the graphs around it.
    const own = new Map(nodes.flatMap(({ output }) => output).map((value) => [value, names.next()]));
    const renamed = nodes.map((node) =>
      changedNode(node, {
        input: node.input.map((value) => own.get(value) ?? value),
        output: node.output.map((value) => own.get(value)!),
      }),
    );
    const output = results.map((value) => create(onnx.ValueInfoProtoSchema, { name: own.get(value)! }));
    const g = create(onnx.GraphProtoSchema, { name: attribute, node: renamed, output });
    return create(onnx.AttributeProtoSchema, { name: attribute, type: GRAPH, g });
  };
  return [
    op("Size", [x], [size]),
    constant(zero, [0n], []),
    op("Greater", [size, zero], [isSome]),
    create(onnx.NodeProtoSchema, {
      opType: "If",
      name,
      input: [isSome],
      output: [...outputs],
      attribute: [graph("then_branch", branches.some), graph("else_branch", branches.none)],
    }),
  ];
}

const { INT, INTS, GRAPH, TENSOR } = onnx.AttributeProto_AttributeType;

function op(
  opType: string,
  input: readonly string[],
  output: readonly string[],
  attribute: readonly onnx.AttributeProto[] = [],
): onnx.NodeProto {
  return create(onnx.NodeProtoSchema, { opType, input: [...input], output: [...output], attribute: [...attribute] });
}

function int(name: string, i: number): onnx.AttributeProto {
  return create(onnx.AttributeProtoSchema, { name, type: INT, i: BigInt(i) });
}

function ints(name: string, values: readonly number[]): onnx.AttributeProto {
  return create(onnx.AttributeProtoSchema, { name, type: INTS, ints: values.map(BigInt) });
}

/** @param dims  default: a vector */
function constant(output: string, int64Data: bigint[], dims = [BigInt(int64Data.length)]): onnx.NodeProto {
  const t = create(onnx.TensorProtoSchema, { dataType: INT64, dims, int64Data });
  return op("Constant", [], [output], [create(onnx.AttributeProtoSchema, { name: "value", type: TENSOR, t })]);
}
