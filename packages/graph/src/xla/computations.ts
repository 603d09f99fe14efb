import { ServingError } from "@shardserve/core";
import type { HloAttr, HloOp, HloRegion, HloValue } from "@shardserve/savedmodel";
import { type DType, isNumeric, type NumericDType, type Tensor } from "@shardserve/tensor";
import type { FunctionLibrary } from "../import/import.js";
import { argDTypes } from "../infer/infer.js";
import { Attrs, type FunctionRef } from "../ir/attrs.js";
import { inlineCalls } from "../ir/inline.js";
import { constantOf, type GraphNode, outputKey, refKey } from "../ir/ir.js";
import { topologicalOrder } from "../ir/program.js";
import { opDef } from "../op-table.js";
import { constantOp, DIRECTIONS, enumeration, FLOAT, hloOp, value } from "./hlo.js";

/** Ops of TensorFlow that a computation of scalars is made of -> the op of StableHLO that does the same. */
const ELEMENTWISE: Readonly<Record<string, string>> = {
  Abs: "abs",
  Add: "add",
  AddV2: "add",
  Atan2: "atan2",
  Bitcast: "bitcast_convert",
  BitwiseAnd: "and",
  BitwiseOr: "or",
  BitwiseXor: "xor",
  Cast: "convert",
  Ceil: "ceil",
  Cos: "cosine",
  Div: "divide",
  Exp: "exponential",
  Expm1: "exponential_minus_one",
  Floor: "floor",
  Imag: "imag",
  Invert: "not",
  IsFinite: "is_finite",
  LeftShift: "shift_left",
  Log: "log",
  Log1p: "log_plus_one",
  LogicalNot: "not",
  LogicalOr: "or",
  Maximum: "maximum",
  Minimum: "minimum",
  Mul: "multiply",
  Neg: "negate",
  Pow: "power",
  Real: "real",
  RealDiv: "divide",
  Round: "round_nearest_even",
  Rsqrt: "rsqrt",
  Select: "select",
  SelectV2: "select",
  Sigmoid: "logistic",
  Sign: "sign",
  Sin: "sine",
  Sqrt: "sqrt",
  Sub: "subtract",
  Tanh: "tanh",
  TruncateDiv: "divide",
};

/** Ops that give a scalar as it is. */
const SAME = /^(Identity|StopGradient|PreventGradient|EnsureShape|Reshape|BroadcastTo|Squeeze|IdentityN)$/;

/** More nodes are no computation of a few scalars. */
const NODES_MAX = 1000;

/**
 * A TensorFlow function of scalars, which a reduction, scatter or sort calls for each of its elements, as a region.
 *
 * @throws ServingError UNIMPLEMENTED naming the op for a function that does more
 */
export function regionOf(ref: FunctionRef, args: readonly DType[], library: FunctionLibrary): HloRegion {
  const { graph, outputs } = flat(ref, args, library);
  const values = new Map<string, HloValue>();
  const ops: HloOp[] = [];
  const argValues = args.map((dtype, i) => {
    const made = value(dtype, []);
    values.set(outputKey(argName(i), 0), made);
    return made;
  });
  const order = topologicalOrder({ graph, outputs, targets: [] });
  if (order.length > NODES_MAX) throw unsupported(ref, `is made of ${order.length} nodes`);
  for (const node of order) {
    if (values.has(outputKey(node.name, 0))) continue;
    const inputs = node.inputs.map((input) => values.get(refKey(input)) ?? fail(ref, node));
    for (const [i, result] of translated(node, inputs, ops, ref).entries()) values.set(outputKey(node.name, i), result);
  }
  const results = outputs.map((output) => values.get(refKey(output)) ?? fail(ref, graph.get(output.node)!));
  return { args: argValues, ops: [...ops, hloOp("return", results, {}, [])] };
}

function argName(i: number): string {
  return `scalar_${i}`;
}

/** The function with everything that it calls, in one graph whose Placeholders are its arguments. */
function flat(ref: FunctionRef, args: readonly DType[], library: FunctionLibrary) {
  const signature = library.get(ref.func)?.signature;
  if (!signature) throw new ServingError("GRAPH_INVALID", `it calls function "${ref.func}", which the model lacks`);
  if (signature.inputArg.length !== args.length) {
    throw new ServingError("GRAPH_INVALID", `function "${ref.func}" takes ${signature.inputArg.length} values`);
  }
  const placeholders = args.map((dtype, i): GraphNode => {
    const attrs = new Attrs("Placeholder", { dtype, shape: [] });
    return { name: argName(i), op: "Placeholder", inputs: [], controls: [], attrs };
  });
  const call: GraphNode = {
    name: "call",
    op: "PartitionedCall",
    inputs: placeholders.map(({ name }) => ({ node: name, index: 0 })),
    controls: [],
    attrs: new Attrs("PartitionedCall", { f: ref }),
  };
  const outputs = signature.outputArg.map((_, index) => ({ node: call.name, index }));
  const graph = new Map([...placeholders, call].map((node) => [node.name, node]));
  return inlineCalls({ graph, outputs, targets: [] }, library);
}

/** Adds the ops that a node becomes; @returns its values */
function translated(node: GraphNode, inputs: readonly HloValue[], ops: HloOp[], ref: FunctionRef): readonly HloValue[] {
  const add = (name: string, operands: readonly HloValue[], dtype: DType, attrs: Record<string, HloAttr> = {}) => {
    const result = value(dtype, []);
    ops.push(hloOp(name, operands, attrs, [result]));
    return [result];
  };
  if (node.op === "Const") {
    const constant = constantOf(node);
    if (!constant || !isNumeric(constant.dtype)) return [];
    const result = value(constant.dtype, constant.shape);
    ops.push(constantOp(constant as Tensor<NumericDType>, result));
    return [result];
  }
  if (SAME.test(node.op)) return node.op === "IdentityN" ? inputs : inputs.slice(0, 1);
  const [dtype] = (opDef(node.op)?.outputs ?? []).flatMap((arg) => argDTypes(arg, node.attrs));
  // A vector among scalars: what reads it is refused.
  if (dtype === undefined || inputs.some(({ type }) => type.kind !== "tensor" || type.shape.length > 0)) return [];
  const name = Object.hasOwn(ELEMENTWISE, node.op) ? ELEMENTWISE[node.op] : undefined;
  const [first, second] = inputs as [HloValue, HloValue];
  if (name !== undefined) return add(name, inputs, dtype);
  const compared = (direction: number, operands: readonly HloValue[]) =>
    add("compare", operands, "bool", {
      comparison_direction: enumeration(direction),
      compare_type: enumeration(FLOAT),
    });
  if (Object.hasOwn(DIRECTIONS, node.op)) return compared(DIRECTIONS[node.op as keyof typeof DIRECTIONS], inputs);
  if (node.op === "IsNan") return compared(DIRECTIONS.NotEqual, [first, first]);
  if (node.op === "Square") return add("multiply", [first, first], dtype);
  if (node.op === "RightShift")
    return add(`shift_right_${dtype.startsWith("u") ? "logical" : "arithmetic"}`, inputs, dtype);
  if (node.op === "LogicalAnd") {
    // Of bools, false and true are in order.
    const not = ops.find(({ name: op, results }) => op === "not" && results[0] === first);
    return not ? compared(DIRECTIONS.Less, [not.operands[0]!, second]) : add("and", inputs, dtype);
  }
  return fail(ref, node);
}

function fail(ref: FunctionRef, node: GraphNode): never {
  throw unsupported(ref, `has an op ${node.op} that is not one of scalars`);
}

function unsupported({ func }: FunctionRef, why: string): ServingError {
  return new ServingError("UNIMPLEMENTED", `its function "${func}" ${why}`);
}
