import type { onnx } from "@shardserve/api";
import { type GuardScope, int, INT64, type Names, op, scalar } from "./guard-nodes.js";
import { changedNode, intAttribute, isOp } from "./model-graph.js";
import { guardUntyped } from "./untyped-division.js";

const INT32 = 6;
/** From this opset on there is Where. */
const HAS_WHERE = 9n;

/** What is known of the values around a node. */
export interface DivisionFacts {
  /** Element types as ONNX numbers them; those not known are absent. */
  readonly types: ReadonlyMap<string, number>;
  readonly constants: ReadonlyMap<string, onnx.TensorProto>;
}

/** All operators that {@link guardDivision} knows. */
export const DIVISION_GUARDED: readonly string[] = ["Div", "Mod"];

/**
 * Keeps -1 away from integer division: the processor traps where INT_MIN is divided by it. The quotient by 1, negated, is the same,
 * and INT_MIN stays itself, as two's complement wraps.
 * Operands of unknown type are seen to by {@link guardUntyped}.
 *
 * @returns undefined where there is nothing to guard: floats, narrower integers, a divisor known not to be -1
 */
export function guardDivision(
  node: onnx.NodeProto,
  facts: DivisionFacts,
  scope: GuardScope,
): onnx.NodeProto[] | undefined {
  const isDiv = isOp(node, "Div");
  if (!isDiv && !isOp(node, "Mod")) return undefined;
  const [x = "", y = ""] = node.input;
  const type = [x, y, ...node.output].map((name) => facts.types.get(name)).find((known) => known !== undefined);
  if (type !== undefined && type !== INT32 && type !== INT64) return undefined;
  // fmod computes with doubles.
  if (!isDiv && intAttribute(node, "fmod", 0) !== 0) return undefined;
  const divisor = facts.constants.get(y);
  if (divisor && !mayHoldMinusOne(divisor)) return undefined;
  if (type === undefined) return guardUntyped(node, scope);
  const { names } = scope;
  if (scope.opset < HAS_WHERE) return divideByArithmetic(node, type, names);
  const [wide, minusOne, isMinusOne] = [names.next(), names.next(), names.next()];
  const [size, safe] = [names.next(), names.next()];
  const guarded = [
    op("Cast", [y], [wide], [int("to", INT64)]),
    ...scalar(minusOne, -1, INT64, names),
    op("Equal", [wide, minusOne], [isMinusOne]),
    op("Abs", [y], [size]),
    op("Where", [isMinusOne, size, y], [safe]),
  ];
  // The remainder of a division by 1 is that by -1: zero.
  if (!isDiv) return [...guarded, changedNode(node, { input: [x, safe] })];
  const [quotient, negated] = [names.next(), names.next()];
  return [
    ...guarded,
    changedNode(node, { input: [x, safe], output: [quotient] }),
    op("Neg", [quotient], [negated]),
    op("Where", [isMinusOne, negated, quotient], node.output),
  ];
}

/** For opsets without Where: of a flag, 1 where the divisor is -1 and else 0, twice is added to the divisor, and twice the quotient taken from it. */
function divideByArithmetic(node: onnx.NodeProto, type: number, names: Names): onnx.NodeProto[] {
  const [x = "", y = ""] = node.input;
  const [minusOne, isMinusOne, flag] = [names.next(), names.next(), names.next()];
  const [twoFlags, safe, quotient, taken] = [names.next(), names.next(), names.next(), names.next()];
  return [
    ...scalar(minusOne, -1, type, names),
    op("Equal", [y, minusOne], [isMinusOne]),
    op("Cast", [isMinusOne], [flag], [int("to", type)]),
    op("Add", [flag, flag], [twoFlags]),
    op("Add", [y, twoFlags], [safe]),
    changedNode(node, { input: [x, safe], output: [quotient] }),
    op("Mul", [quotient, twoFlags], [taken]),
    op("Sub", [quotient, taken], node.output),
  ];
}

function mayHoldMinusOne({ dataType, int32Data, int64Data, rawData, dataLocation }: onnx.TensorProto): boolean {
  if (dataLocation !== 0) return true;
  if (int32Data.includes(-1) || int64Data.includes(-1n)) return true;
  const width = dataType === INT64 ? 8 : 4;
  for (let at = 0; at + width <= rawData.length; at += width)
    if (rawData.subarray(at, at + width).every((byte) => byte === 255)) return true;
  return false;
}
