import { clone, onnx } from "@shardserve/api";

/** Domains of the operators of the ONNX standard. */
const STANDARD = new Set(["", "ai.onnx"]);

/** True when the node is the standard's operator of that name. */
export function isOp(node: onnx.NodeProto, op: string): boolean {
  return node.opType === op && STANDARD.has(node.domain);
}

/** What errors and plans call a node: exporters need not name them. */
export function nodeName(node: onnx.NodeProto): string {
  return node.name || (node.output.find((name) => name !== "") ?? node.opType);
}

/** An int attribute. */
export function intAttribute(node: onnx.NodeProto, name: string, otherwise: number): number {
  const attribute = node.attribute.find((candidate) => candidate.name === name);
  return attribute ? Number(attribute.i) : otherwise;
}

/** A copy of a node with some fields changed. (Spreading one loses what it does not set: messages keep defaults on their prototype.) */
export function changedNode(
  node: onnx.NodeProto,
  changes: Partial<Pick<onnx.NodeProto, "name" | "input" | "output">>,
): onnx.NodeProto {
  return Object.assign(clone(onnx.NodeProtoSchema, node), changes);
}

/** Graphs inside a node: branches, bodies of loops. */
export function innerGraphs(node: onnx.NodeProto): onnx.GraphProto[] {
  return node.attribute.flatMap(({ g, graphs }) => (g ? [g, ...graphs] : graphs));
}

/**
 * Values that the graphs inside a node may take from outside: every name that they read, at any depth. Names of their own
 * are among them; ONNX lets no inner value bear the name of an outer one, so those match nothing outside.
 */
export function capturedValues(node: onnx.NodeProto): string[] {
  const names: string[] = [];
  const stack = innerGraphs(node);
  for (let graph = stack.pop(); graph; graph = stack.pop()) {
    for (const inner of graph.node) {
      for (const name of inner.input) names.push(name);
      stack.push(...innerGraphs(inner));
    }
    for (const { name } of graph.output) names.push(name);
  }
  return names;
}

/** Everything that a node reads. */
export function valuesRead(node: onnx.NodeProto): string[] {
  return [...node.input, ...capturedValues(node)].filter((name) => name !== "");
}

/** What holds nodes: the main graph, one inside a node, a function. */
export type Scope = onnx.GraphProto | onnx.FunctionProto;

/** Tensors of initialisers and Constant nodes. */
export function constantsOf(scopes: readonly Scope[]): Map<string, onnx.TensorProto> {
  const found = new Map<string, onnx.TensorProto>();
  for (const scope of scopes) {
    if ("initializer" in scope) for (const tensor of scope.initializer) found.set(tensor.name, tensor);
    for (const node of scope.node) {
      const t = isOp(node, "Constant") ? node.attribute.find(({ name }) => name === "value")?.t : undefined;
      if (t && node.output[0]) found.set(node.output[0], t);
    }
  }
  return found;
}

/** Every tensor that a model holds: initialisers and attributes, those of inner graphs and functions included. */
export function* tensorsOf(model: onnx.ModelProto): Generator<onnx.TensorProto, void> {
  const nodes = model.functions.flatMap(({ node }) => node);
  const graphs = model.graph ? [model.graph] : [];
  for (let graph = graphs.pop(); graph; graph = graphs.pop()) {
    yield* graph.initializer;
    nodes.push(...graph.node);
    while (nodes.length > 0) {
      const node = nodes.pop()!;
      for (const { t, tensors } of node.attribute) {
        if (t) yield t;
        yield* tensors;
      }
      graphs.push(...innerGraphs(node));
    }
  }
}
