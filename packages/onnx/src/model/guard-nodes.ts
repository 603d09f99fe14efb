import { create, type MessageInitShape, onnx } from "@shardserve/api";
import { changedNode } from "./model-graph.js";

/** ONNX's numbers of element types. */
export const FLOAT = 1;
export const INT64 = 7;
export const BOOL = 9;
export const DOUBLE = 11;
/** From this opset on Squeeze and Unsqueeze take their axes as an input. */
const AXES_ARE_INPUTS = 13n;
const { INT, INTS, GRAPH, TENSOR } = onnx.AttributeProto_AttributeType;

/** Fresh names of values. */
export class Names {
  #count = 0;

  next(): string {
    return `shardserve/guard/${this.#count++}`;
  }
}

/** What guards are made for: opset of the scope, and names not taken in it. */
export interface GuardScope {
  readonly opset: bigint;
  readonly names: Names;
}

export function op(
  opType: string,
  input: readonly string[],
  output: readonly string[],
  attribute: readonly onnx.AttributeProto[] = [],
): onnx.NodeProto {
  return create(onnx.NodeProtoSchema, { opType, input: [...input], output: [...output], attribute: [...attribute] });
}

export function int(name: string, i: number): onnx.AttributeProto {
  return create(onnx.AttributeProtoSchema, { name, type: INT, i: BigInt(i) });
}

export function ints(name: string, values: readonly number[]): onnx.AttributeProto {
  return create(onnx.AttributeProtoSchema, { name, type: INTS, ints: values.map(BigInt) });
}

/** A vector of int64. */
export function constant(output: string, int64Data: bigint[]): onnx.NodeProto {
  return constantNode(output, { dataType: INT64, dims: [BigInt(int64Data.length)], int64Data });
}

/** A scalar of any type of numbers. Before opset 9 constants in functions are floats: it is cast from one. */
export function scalar(output: string, value: number, type: number, names: Names): onnx.NodeProto[] {
  if (type === DOUBLE) return [constantNode(output, { dataType: DOUBLE, doubleData: [value] })];
  const wide = names.next();
  return [...scalar(wide, value, DOUBLE, names), op("Cast", [wide], [output], [int("to", type)])];
}

function constantNode(output: string, value: MessageInitShape<typeof onnx.TensorProtoSchema>): onnx.NodeProto {
  const t = create(onnx.TensorProtoSchema, value);
  return op("Constant", [], [output], [create(onnx.AttributeProtoSchema, { name: "value", type: TENSOR, t })]);
}

export interface Branch {
  readonly nodes: readonly onnx.NodeProto[];
  readonly outputs: readonly string[];
}

/** An If of that name. */
export function branch(
  name: string,
  condition: string,
  outputs: readonly string[],
  names: Names,
  branches: { readonly yes: Branch; readonly no: Branch },
): onnx.NodeProto {
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
  const attribute = [graph("then_branch", branches.yes), graph("else_branch", branches.no)];
  return create(onnx.NodeProtoSchema, { opType: "If", name, input: [condition], output: [...outputs], attribute });
}

/** Outside of any dimension. */
const REFUSED_INDEX = 2 ** 40;

/** Whether a value has any elements. */
export function hasElements(x: string, isSome: string, names: Names): onnx.NodeProto[] {
  const size = names.next();
  return [op("Size", [x], [size]), op("Cast", [size], [isSome], [int("to", BOOL)])];
}

/** A dimension of one before those of `x`, or such a one less. Opsets say differently which. */
export function unitDimension(
  change: "Unsqueeze" | "Squeeze",
  x: string,
  changed: string,
  { opset, names }: GuardScope,
): onnx.NodeProto[] {
  if (opset < AXES_ARE_INPUTS) return [op(change, [x], [changed], [ints("axes", [0])])];
  const axes = names.next();
  return [constant(axes, [0n]), op(change, [x, axes], [changed])];
}

/** `x` as it is where the condition holds; else an If of that name fails the run. */
export function passIf(name: string, condition: string, x: string, kept: string, scope: GuardScope): onnx.NodeProto {
  // Before opset 11 the branches of an If must agree in their shapes: what is refused has that of `x` as well.
  const refused = [
    ...scalar("at", REFUSED_INDEX, INT64, scope.names),
    ...unitDimension("Unsqueeze", x, "one", scope),
    op("Gather", ["one", "at"], ["none"]),
  ];
  return branch(name, condition, [kept], scope.names, {
    yes: { nodes: [op("Identity", [x], ["same"])], outputs: ["same"] },
    no: { nodes: refused, outputs: ["none"] },
  });
}
