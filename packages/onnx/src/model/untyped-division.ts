import type { onnx } from "@shardserve/api";
import { BOOL, DOUBLE, FLOAT, type GuardScope, int, INT64, op, passIf, scalar, unitDimension } from "./guard-nodes.js";
import { changedNode, isOp, nodeName } from "./model-graph.js";

/** Ends the name of a node that refuses to divide the least integer by -1; the name before it is the exporter's. */
export const OVERFLOW_LABEL = "Overflow";
/** From this opset on there is GatherElements. */
const HAS_GATHER_ELEMENTS = 11n;
/** Which no other type than theirs can divide by -1: those of int32 and int64. */
const LEAST = [-(2 ** 31), -(2 ** 63)];

/**
 * Guards a Div or Mod whose operands have a type that is not known, with operators that take every type: dividing by 1 in the place of
 * -1 and giving the quotient its sign back changes nothing of any type, floats included.
 *
 * Opsets before 11 have no such operator that chooses by element: there a run is refused that divides a number which is the least of some type.
 */
export function guardUntyped(node: onnx.NodeProto, scope: GuardScope): onnx.NodeProto[] {
  return scope.opset < HAS_GATHER_ELEMENTS ? refuseLeast(node, scope) : divideByMagnitude(node, scope);
}

function divideByMagnitude(node: onnx.NodeProto, scope: GuardScope): onnx.NodeProto[] {
  const { names } = scope;
  const [x = "", y = ""] = node.input;
  const [isOther, isMinusOne, choice] = [names.next(), names.next(), names.next()];
  const [size, safe] = [names.next(), names.next()];
  const guarded = [
    ...differs(y, [-1], isOther, scope),
    op("Not", [isOther], [isMinusOne]),
    op("Cast", [isMinusOne], [choice], [int("to", INT64)]),
    op("Abs", [y], [size]),
    ...choose(choice, [y, size], safe, scope),
  ];
  // The remainder of a division by 1 is that by -1: zero.
  if (!isOp(node, "Div")) return [...guarded, changedNode(node, { input: [x, safe] })];
  const [quotient, signed] = [names.next(), names.next()];
  return [
    ...guarded,
    changedNode(node, { input: [x, safe], output: [quotient] }),
    op("Mul", [quotient, y], [signed]),
    ...choose(choice, [quotient, signed], node.output[0]!, scope),
  ];
}

function refuseLeast(node: onnx.NodeProto, scope: GuardScope): onnx.NodeProto[] {
  const { names } = scope;
  const [x = "", y = ""] = node.input;
  const [isOther, isMore, isFine, isBad] = [names.next(), names.next(), names.next(), names.next()];
  const [flags, count, isAny, areFine, kept] = [names.next(), names.next(), names.next(), names.next(), names.next()];
  return [
    ...differs(y, [-1], isOther, scope),
    ...differs(x, LEAST, isMore, scope),
    op("Or", [isMore, isOther], [isFine]),
    op("Not", [isFine], [isBad]),
    op("Cast", [isBad], [flags], [int("to", FLOAT)]),
    op("ReduceSum", [flags], [count], [int("keepdims", 0)]),
    op("Cast", [count], [isAny], [int("to", BOOL)]),
    op("Not", [isAny], [areFine]),
    passIf(`${nodeName(node)}/${OVERFLOW_LABEL}_0`, areFine, y, kept, scope),
    changedNode(node, { input: [x, kept] }),
  ];
}

/** Whether each element is none of those numbers, which float64 holds; neither rounding nor NaN makes an element one. */
function differs(x: string, numbers: readonly number[], result: string, { names }: GuardScope): onnx.NodeProto[] {
  const wide = names.next();
  const nodes = [op("Cast", [x], [wide], [int("to", DOUBLE)])];
  const differences = numbers.map((number) => {
    const [exact, difference] = [names.next(), names.next()];
    nodes.push(...scalar(exact, number, DOUBLE, names), op("Sub", [wide, exact], [difference]));
    return difference;
  });
  const product = differences.reduce((a, b) => {
    const both = names.next();
    nodes.push(op("Mul", [a, b], [both]));
    return both;
  });
  return [...nodes, op("Cast", [product], [result], [int("to", BOOL)])];
}

/** By element the first value where the choice is 0, the second where it is 1. The values have one shape, which the choice is broadcast to. */
function choose(
  choice: string,
  values: readonly [string, string],
  chosen: string,
  scope: GuardScope,
): onnx.NodeProto[] {
  const { names } = scope;
  const [stack, shape, wide, index, one] = [names.next(), names.next(), names.next(), names.next(), names.next()];
  const layers = values.map(() => names.next());
  return [
    ...values.flatMap((value, i) => unitDimension("Unsqueeze", value, layers[i]!, scope)),
    op("Concat", layers, [stack], [int("axis", 0)]),
    op("Shape", [values[0]], [shape]),
    op("Expand", [choice, shape], [wide]),
    ...unitDimension("Unsqueeze", wide, index, scope),
    op("GatherElements", [stack, index], [one], [int("axis", 0)]),
    ...unitDimension("Squeeze", one, chosen, scope),
  ];
}
