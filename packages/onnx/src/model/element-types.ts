import type { onnx } from "@shardserve/api";
import { innerGraphs, intAttribute, isOp, type Scope } from "./model-graph.js";

const FLOAT = 1;
const INT32 = 6;
const INT64 = 7;

type Types = Map<string, number>;

/** Operators whose results have one type, whatever they take. */
const FIXED: ReadonlyMap<string, number> = new Map([
  ...["Shape", "Size", "NonZero", "ArgMax", "ArgMin", "NonMaxSuppression", "SequenceLength"].map(
    (op) => [op, INT64] as const,
  ),
  ...["MatMulInteger", "ConvInteger"].map((op) => [op, INT32] as const),
  ...["TfIdfVectorizer"].map((op) => [op, FLOAT] as const),
]);
/** Operators whose results have the type of another input than the first. */
const OF_INPUT: ReadonlyMap<string, number> = new Map([
  ["Where", 1],
  ["CastLike", 1],
  ["DequantizeLinear", 1],
  ["OneHot", 2],
]);
/** Operators that an attribute tells the type of, and what they give without it: a type, or that of the first input. */
const BY_ATTRIBUTE: ReadonlyMap<string, readonly [attribute: string, otherwise: number | "same"]> = new Map([
  ["Cast", ["to", 0]],
  ["BitCast", ["to", 0]],
  ["EyeLike", ["dtype", "same"]],
  ["Bernoulli", ["dtype", "same"]],
  ["RandomNormalLike", ["dtype", "same"]],
  ["RandomUniformLike", ["dtype", "same"]],
  ["RandomNormal", ["dtype", FLOAT]],
  ["RandomUniform", ["dtype", FLOAT]],
  ["SequenceEmpty", ["dtype", FLOAT]],
  ["Multinomial", ["dtype", INT32]],
  ["HannWindow", ["output_datatype", FLOAT]],
  ["HammingWindow", ["output_datatype", FLOAT]],
  ["BlackmanWindow", ["output_datatype", FLOAT]],
  ["MelWeightMatrix", ["output_datatype", FLOAT]],
]);
/** Operators whose further results are indices or counts. */
const INDICES = new Set(["TopK", "MaxPool", "Unique"]);

/**
 * Element types of values, of sequences those of their tensors, as ONNX numbers them; those not known are absent. Only types are found,
 * no shapes, and only as far as telling integers from floats goes: comparisons count as what they compare.
 *
 * @returns the types in each scope, those of the scopes around it included
 */
export function elementTypes(
  model: onnx.ModelProto & { readonly graph: onnx.GraphProto },
): ReadonlyMap<Scope, ReadonlyMap<string, number>> {
  const search = new TypeSearch(model.functions);
  search.visitGraph(model.graph, new Map());
  return search.found;
}

/** Goes through the graphs of a model, those inside of nodes and the functions that they call. */
class TypeSearch {
  readonly found = new Map<Scope, Types>();
  readonly #functions: ReadonlyMap<string, onnx.FunctionProto>;
  /** What functions gave, by call. */
  readonly #called = new Map<string, readonly number[]>();

  constructor(functions: readonly onnx.FunctionProto[]) {
    this.#functions = new Map(functions.map((fn) => [`${fn.domain}:${fn.name}:${fn.overload}`, fn]));
  }

  /** @param fed  types of the first inputs, 0 = not known */
  visitGraph(graph: onnx.GraphProto, outer: ReadonlyMap<string, number>, fed: readonly number[] = []): Types {
    const types: Types = new Map(outer);
    for (const [i, { name }] of graph.input.entries()) note(types, name, fed[i]);
    for (const { name, type } of [...graph.input, ...graph.valueInfo, ...graph.output])
      note(types, name, declared(type));
    for (const { name, dataType } of graph.initializer) types.set(name, dataType);
    for (const { values } of graph.sparseInitializer) if (values) types.set(values.name, values.dataType);
    this.#visitNodes(graph.node, types);
    this.#record(graph, types);
    return types;
  }

  /** What a function gives for inputs of those types. */
  #visitFunction(key: string, fn: onnx.FunctionProto, fed: readonly number[]): readonly number[] {
    const call = `${key}(${fed.join()})`;
    const known = this.#called.get(call);
    if (known) return known;
    const types: Types = new Map();
    for (const [i, name] of fn.input.entries()) note(types, name, fed[i]);
    this.#visitNodes(fn.node, types);
    this.#record(fn, types);
    const results = fn.output.map((name) => types.get(name) ?? 0);
    this.#called.set(call, results);
    return results;
  }

  #visitNodes(nodes: readonly onnx.NodeProto[], types: Types): void {
    for (const node of nodes) {
      const results = this.#resultTypes(node, types);
      for (const [i, name] of node.output.entries()) note(types, name, results(i));
    }
  }

  #resultTypes(node: onnx.NodeProto, types: Types): (output: number) => number | undefined {
    const fed = node.input.map((name) => types.get(name) ?? 0);
    const key = `${node.domain}:${node.opType}:${node.overload}`;
    const fn = this.#functions.get(key);
    if (fn) {
      const results = this.#visitFunction(key, fn, fed);
      return (i) => results[i];
    }
    const isLoop = isOp(node, "Loop");
    const given = isLoop ? [INT64, ...fed.slice(1)] : fed;
    const inner = innerGraphs(node).map((graph) => ({ graph, types: this.visitGraph(graph, types, given) }));
    const [first] = inner;
    // A Loop's body gives first whether to go on.
    if (first) return (i) => first.types.get(first.graph.output[isLoop ? i + 1 : i]?.name ?? "");
    const own = isOp(node, node.opType) ? ownType(node, fed) : undefined;
    return (i) => (i > 0 && INDICES.has(node.opType) ? INT64 : own);
  }

  /** Where a scope is gone through again, as another call of its function, what differs is not known. */
  #record(scope: Scope, types: Types): void {
    const before = this.found.get(scope);
    if (!before) this.found.set(scope, types);
    else for (const [name, type] of before) if (types.get(name) !== type) before.delete(name);
  }
}

/** The type of what an operator of the standard gives. */
function ownType(node: onnx.NodeProto, fed: readonly number[]): number | undefined {
  const byAttribute = BY_ATTRIBUTE.get(node.opType);
  if (byAttribute) {
    const [attribute, otherwise] = byAttribute;
    return intAttribute(node, attribute, 0) || (otherwise === "same" ? fed[0] : otherwise);
  }
  if (node.opType === "Constant") return constantType(node);
  if (node.opType === "ConstantOfShape") return node.attribute[0]?.t?.dataType ?? FLOAT;
  return FIXED.get(node.opType) ?? fed[OF_INPUT.get(node.opType) ?? 0];
}

function constantType(node: onnx.NodeProto): number | undefined {
  const [attribute] = node.attribute;
  if (attribute?.name.startsWith("value_int")) return INT64;
  if (attribute?.name.startsWith("value_float")) return FLOAT;
  return attribute?.t?.dataType ?? attribute?.sparseTensor?.values?.dataType;
}

function declared(type: onnx.TypeProto | undefined): number | undefined {
  const value = type?.value;
  if (value?.case === "sequenceType" || value?.case === "optionalType") return declared(value.value.elemType);
  return value?.case === "tensorType" ? value.value.elemType : undefined;
}

function note(types: Types, name: string, type: number | undefined): void {
  if (type !== undefined && type !== 0 && name !== "") types.set(name, type);
}
