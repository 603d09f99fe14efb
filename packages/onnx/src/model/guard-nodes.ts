import { create, onnx } from "@shardserve/api";
import { changedNode } from "./model-graph.js";

/** ONNX's number of the type int64. */
export const INT64 = 7;
const { INT, INTS, GRAPH, TENSOR } = onnx.AttributeProto_AttributeType;

/** Fresh names of values. */
export class Names {
  #count = 0;

  next(): string {
    return `shardserve/guard/${this.#count++}`;
  }
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

/** A constant of int64. @param dims  default: a vector */
export function constant(output: string, int64Data: bigint[], dims = [BigInt(int64Data.length)]): onnx.NodeProto {
  const t = create(onnx.TensorProtoSchema, { dataType: INT64, dims, int64Data });
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
const REFUSED_INDEX = 2n ** 40n;

/** `x` as it is where the condition holds; else an If of that name fails the run. */
export function passIf(name: string, condition: string, x: string, kept: string, names: Names): onnx.NodeProto {
  return branch(name, condition, [kept], names, {
    yes: { nodes: [op("Identity", [x], ["same"])], outputs: ["same"] },
    no: { nodes: [constant("at", [REFUSED_INDEX]), op("Gather", [x, "at"], ["none"])], outputs: ["none"] },
  });
}
