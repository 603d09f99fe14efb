import {
  type AttrValue as WireAttr,
  type AttrValue_ListValueSchema,
  AttrValueSchema,
  create,
  type MessageInitShape,
  type NodeDef,
  NodeDefSchema,
} from "@shardserve/api";
import { invariant } from "@shardserve/core";
import { type DType, DTYPES, encodeTensorProto, type Tensor } from "@shardserve/tensor";
import { Attrs, type AttrValue, LazyTensor } from "../ir/attrs.js";
import { type GraphNode, outputKey, refKey, type TensorRef, type ValueInfo } from "../ir/ir.js";
import { type ArgDef, opDef } from "../op-table.js";

/**
 * A node in TensorFlow's wire form; the inverse of import.ts. Control edges are left out: within a segment only values
 * order. Attributes that passes left to be inferred (T, N) are filled in from the types of inputs and outputs.
 *
 * @param rename  tensor name of an input ("node:1") in the graph that the node goes to
 */
export function exportNode(
  node: GraphNode,
  name: string,
  infos: ReadonlyMap<string, ValueInfo>,
  rename: (ref: TensorRef) => string,
): NodeDef {
  const def = opDef(node.op);
  invariant(def, `${node.op} is no op of TensorFlow`);
  const attrs = inferredAttrs(node, infos);
  const wire: Record<string, WireAttr> = {};
  for (const [key, type] of def.attrTypes) {
    const value = attrs.get(key);
    if (value !== undefined) wire[key] = exportAttr(type, value, new Attrs(node.op, { [key]: value }), key);
  }
  return create(NodeDefSchema, { name, op: node.op, input: node.inputs.map(rename), attr: wire });
}

/** Explicit attributes, and those that follow from types. */
function inferredAttrs(node: GraphNode, infos: ReadonlyMap<string, ValueInfo>): Map<string, AttrValue> {
  const def = opDef(node.op)!;
  const attrs = new Map<string, AttrValue>(node.attrs.entries());
  fillFrom(
    def.inputs,
    node.inputs.map((ref) => infos.get(refKey(ref))?.dtype),
    attrs,
  );
  const outputs: (DType | undefined)[] = [];
  for (let i = 0; infos.has(outputKey(node.name, i)); i++) outputs.push(infos.get(outputKey(node.name, i))!.dtype);
  fillFrom(def.outputs, outputs, attrs);
  return attrs;
}

function fillFrom(
  args: readonly ArgDef[],
  dtypes: readonly (DType | undefined)[],
  attrs: Map<string, AttrValue>,
): void {
  // At most one argument of an op that lacks its length takes what the others leave.
  const isOpen = ({ numberAttr, typeListAttr }: ArgDef): boolean =>
    (numberAttr !== undefined && !attrs.has(numberAttr)) || (typeListAttr !== undefined && !attrs.has(typeListAttr));
  const fixed = args.filter((arg) => !isOpen(arg)).reduce((sum, arg) => sum + lengthOf(arg, attrs), 0);
  let at = 0;
  for (const arg of args) {
    const length = isOpen(arg) ? Math.max(dtypes.length - fixed, 0) : lengthOf(arg, attrs);
    const own = dtypes.slice(at, at + length);
    at += length;
    if (arg.numberAttr !== undefined && !attrs.has(arg.numberAttr)) attrs.set(arg.numberAttr, length);
    const [first] = own;
    if (arg.typeAttr !== undefined && !attrs.has(arg.typeAttr) && first !== undefined) attrs.set(arg.typeAttr, first);
    if (arg.typeListAttr !== undefined && !attrs.has(arg.typeListAttr)) {
      attrs.set(
        arg.typeListAttr,
        own.filter((dtype) => dtype !== undefined),
      );
    }
  }
}

function lengthOf({ numberAttr, typeListAttr }: ArgDef, attrs: ReadonlyMap<string, AttrValue>): number {
  if (numberAttr !== undefined) return Number(attrs.get(numberAttr) ?? 0);
  if (typeListAttr === undefined) return 1;
  const list = attrs.get(typeListAttr);
  return Array.isArray(list) ? list.length : 0;
}

type WireValue = NonNullable<MessageInitShape<typeof AttrValueSchema>["value"]>;

function exportAttr(type: string, value: AttrValue, attrs: Attrs, key: string): WireAttr {
  return create(AttrValueSchema, { value: wireValue(type, value, attrs, key) });
}

/** @param type as TensorFlow spells it: "int", "list(type)", ... */
function wireValue(type: string, value: AttrValue, attrs: Attrs, key: string): WireValue {
  const inner = /^list\((\w+)\)$/.exec(type)?.[1];
  if (inner !== undefined) return { case: "list", value: wireList(inner, attrs, key) };
  switch (type) {
    case "int":
      return { case: "i", value: attrs.bigint(key) };
    case "float":
      return { case: "f", value: attrs.float(key) };
    case "bool":
      return { case: "b", value: attrs.bool(key) };
    case "string":
      return { case: "s", value: attrs.bytes(key) };
    case "type":
      return { case: "type", value: DTYPES[attrs.dtype(key)].tf };
    case "shape":
      return { case: "shape", value: wireShape(value as readonly number[] | null) as never };
    case "tensor":
      return {
        case: "tensor",
        value: encodeTensorProto(value instanceof LazyTensor ? value.get() : (value as Tensor)),
      };
    default:
      invariant(false, `attribute ${key} of type ${type} has no place in a segment`);
  }
}

function wireShape(shape: readonly number[] | null) {
  return shape === null ? { unknownRank: true } : { dim: shape.map((size) => ({ size: BigInt(size) })) };
}

function wireList(inner: string, attrs: Attrs, key: string): MessageInitShape<typeof AttrValue_ListValueSchema> {
  const list = attrs.get(key) as readonly AttrValue[];
  switch (inner) {
    case "int":
      return { i: attrs.ints(key).map(BigInt) };
    case "float":
      return { f: attrs.floats(key) };
    case "bool":
      return { b: list as boolean[] };
    case "type":
      return { type: attrs.dtypes(key).map((dtype) => DTYPES[dtype].tf) };
    case "shape":
      return { shape: list.map((shape) => wireShape(shape as readonly number[] | null)) };
    case "string":
      return {
        s: list.map((text) => (typeof text === "string" ? new TextEncoder().encode(text) : (text as Uint8Array))),
      };
    default:
      invariant(false, `attribute ${key}: a list of ${inner} has no place in a segment`);
  }
}
