/**
 * Graphs as text, so that tests read like what they test. One node a line:
 *
 *     name = Op(input, other:1, ^control) T=float32 shape=[-1,2] value=int32[2]:1,2
 *
 * Attribute values are a dtype, JSON, a tensor (`dtype[shape]:elements`), bare text, or `$name` for a placeholder.
 */
import {
  AttrValueSchema,
  type AttrValue as WireAttr,
  create,
  type FunctionDef,
  FunctionDefSchema,
  GraphDefSchema,
  type MetaGraphDef,
  MetaGraphDefSchema,
  type MessageInitShape,
  NodeDefSchema,
  SignatureDefSchema,
} from "@shardserve/api";
import {
  type DataOf,
  DTYPES,
  type DType,
  elementCount,
  encodeTensorProto,
  newData,
  type NumericDType,
  strings,
  tensor,
  type Tensor,
} from "@shardserve/tensor";
import { Attrs, type AttrValue } from "../src/ir/attrs.js";
import { parseRef } from "../src/import/import.js";
import type { GraphNode } from "../src/ir/ir.js";
import { opDef } from "../src/op-table.js";
import type { Program } from "../src/ir/program.js";

interface Line {
  readonly name: string;
  readonly op: string;
  readonly inputs: readonly string[];
  readonly attrs: ReadonlyMap<string, string>;
}

function parseLines(text: string): Line[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const match = /^(\S+) = (\w+)\(([^)]*)\)\s*(.*)$/.exec(line);
      if (!match) throw new Error(`not a node: ${line}`);
      const [, name, op, inputs, attrs] = match;
      return {
        name: name!,
        op: op!,
        inputs: inputs!
          .split(",")
          .map((part) => part.trim())
          .filter((part) => part !== ""),
        attrs: new Map(
          attrs!
            .split(/\s+/)
            .filter((part) => part !== "")
            .map((part) => {
              const equals = part.indexOf("=");
              return [part.slice(0, equals), part.slice(equals + 1)];
            }),
        ),
      };
    });
}

/** `int32[2]:1,2`, `string[]:abc`, `float32[3]:0` (one element fills all), `complex64[1]:1,0` (parts in turn). */
export function tensorOf(text: string): Tensor {
  const match = /^(\w+)\[([^\]]*)\]:(.*)$/.exec(text);
  if (!match) throw new Error(`not a tensor: ${text}`);
  const dtype = match[1] as DType;
  const shape = match[2] === "" ? [] : match[2]!.split(",").map(Number);
  const items = match[3] === "" ? [] : match[3]!.split(",");
  const count = elementCount(shape) * (dtype.startsWith("complex") ? 2 : 1);
  const values = Array.from({ length: count }, (_, i) => items[i] ?? items.at(-1) ?? "0");
  if (dtype === "string") return strings(shape, values);
  const data = newData(dtype as NumericDType, count) as unknown as (number | bigint)[];
  for (const [i, value] of values.entries())
    data[i] = dtype === "int64" || dtype === "uint64" ? BigInt(value) : Number(value);
  return tensor(dtype, shape, data as unknown as DataOf[typeof dtype]);
}

function attrValue(text: string): AttrValue {
  if (/^\w+\[[^\]]*\]:/.test(text)) return tensorOf(text);
  if (text.startsWith("$")) return { placeholder: text.slice(1) };
  try {
    return JSON.parse(text) as AttrValue;
  } catch {
    return text;
  }
}

/** Nodes for tests of single passes, without the detour over GraphDef. */
export function nodesOf(text: string): Map<string, GraphNode> {
  return new Map(
    parseLines(text).map(({ name, op, inputs, attrs }) => [
      name,
      {
        name,
        op,
        inputs: inputs.filter((input) => !input.startsWith("^")).map(parseRef),
        controls: inputs.filter((input) => input.startsWith("^")).map((input) => input.slice(1)),
        attrs: new Attrs(op, new Map([...attrs].map(([key, value]) => [key, attrValue(value)]))),
      },
    ]),
  );
}

export function programOf(text: string, outputs: string, targets = ""): Program {
  const names = (list: string): string[] => list.split(" ").filter((name) => name !== "");
  return { graph: nodesOf(text), outputs: names(outputs).map(parseRef), targets: names(targets) };
}

/** A graph as the text that {@link nodesOf} reads, sorted by name, without attributes. */
export function textOf(program: Program): string[] {
  return [...program.graph.values()]
    .map(({ name, op, inputs, controls }) => {
      const refs = [
        ...inputs.map((ref) => (ref.index === 0 ? ref.node : `${ref.node}:${ref.index}`)),
        ...controls.map((c) => `^${c}`),
      ];
      return `${name} = ${op}(${refs.join(", ")})`;
    })
    .sort();
}

const NO_ATTR_TYPES: ReadonlyMap<string, string> = new Map();

function wireAttrs(line: Line): Record<string, WireAttr> {
  const types = opDef(line.op)?.attrTypes ?? NO_ATTR_TYPES;
  return Object.fromEntries(
    [...line.attrs].map(([key, text]) => [
      key,
      create(AttrValueSchema, { value: wireValue(types.get(key) ?? guess(text), text) }),
    ]),
  );
}

/** For attributes of function calls, which no op defines. */
function guess(text: string): string {
  if (text in DTYPES) return "type";
  return /^-?\d+$/.test(text) ? "int" : "func";
}

type WireValue = NonNullable<MessageInitShape<typeof AttrValueSchema>["value"]>;

function wireValue(type: string, text: string): WireValue {
  if (text.startsWith("$")) return { case: "placeholder", value: text.slice(1) };
  const shape = (dims: readonly number[] | null) =>
    dims === null ? { unknownRank: true } : { dim: dims.map((size) => ({ size: BigInt(size) })) };
  switch (type) {
    case "int":
      return { case: "i", value: BigInt(text) };
    case "float":
      return { case: "f", value: Number(text) };
    case "bool":
      return { case: "b", value: text === "true" };
    case "type":
      return { case: "type", value: DTYPES[text as DType].tf };
    case "shape":
      return { case: "shape", value: shape(JSON.parse(text) as number[] | null) };
    case "tensor":
      return { case: "tensor", value: encodeTensorProto(tensorOf(text)) };
    case "func":
      return { case: "func", value: { name: text } };
    case "string":
      return { case: "s", value: new TextEncoder().encode(text) };
    case "list(int)":
      return { case: "list", value: { i: (JSON.parse(text) as number[]).map(BigInt) } };
    case "list(type)":
      return { case: "list", value: { type: text.split(",").map((name) => DTYPES[name as DType].tf) } };
    case "list(func)":
      return { case: "list", value: { func: text.split(",").map((name) => ({ name })) } };
    default:
      throw new Error(`attribute of type ${type}`);
  }
}

export interface FunctionText {
  readonly name: string;
  /** "x:float32 n:int32"; `$T` takes the dtype of an attribute. */
  readonly inputs: string;
  readonly outputs: string;
  /** Inputs of nodes are spelled as in a FunctionDef: "node:outarg:0", "arg". */
  readonly nodes: string;
  /** "y=node:z:0" */
  readonly ret: string;
  readonly controlRet?: string;
}

function functionDef(text: FunctionText): FunctionDef {
  const args = (list: string) =>
    list
      .split(" ")
      .filter((arg) => arg !== "")
      .map((arg) => {
        const [name, type] = arg.split(":") as [string, string];
        return type.startsWith("$") ? { name, typeAttr: type.slice(1) } : { name, type: DTYPES[type as DType].tf };
      });
  const pairs = (list: string): Record<string, string> =>
    Object.fromEntries(
      list
        .split(" ")
        .filter((pair) => pair !== "")
        .map((pair) => pair.split("=") as [string, string]),
    );
  return create(FunctionDefSchema, {
    signature: { name: text.name, inputArg: args(text.inputs), outputArg: args(text.outputs) },
    nodeDef: parseLines(text.nodes).map(nodeDef),
    ret: pairs(text.ret),
    controlRet: pairs(text.controlRet ?? ""),
  });
}

function nodeDef(line: Line): MessageInitShape<typeof NodeDefSchema> {
  return { name: line.name, op: line.op, input: [...line.inputs], attr: wireAttrs(line) };
}

export interface ModelText {
  readonly nodes: string;
  readonly functions?: readonly FunctionText[];
  /** name -> "x=ref:dtype[shape] ... -> y=ref:dtype[shape]", shape `?` for an unknown rank. */
  readonly signatures?: Readonly<Record<string, string>>;
}

export function metaGraphOf(text: ModelText): MetaGraphDef {
  const tensors = (list: string) =>
    Object.fromEntries(
      list
        .trim()
        .split(" ")
        .filter((item) => item !== "")
        .map((item) => {
          const match = /^([^=]+)=(\S+):(\w+)\[([^\]]*)\]$/.exec(item);
          if (!match) throw new Error(`not a signature tensor: ${item}`);
          const [, alias, ref, dtype, dims] = match as unknown as [string, string, string, DType, string];
          const shape =
            dims === "?"
              ? { unknownRank: true }
              : { dim: dims === "" ? [] : dims.split(",").map((size) => ({ size: BigInt(size) })) };
          return [
            alias,
            { encoding: { case: "name" as const, value: ref }, dtype: DTYPES[dtype].tf, tensorShape: shape },
          ];
        }),
    );
  const signatureDef = Object.fromEntries(
    Object.entries(text.signatures ?? {}).map(([name, def]) => {
      const [inputs, outputs] = def.split("->") as [string, string];
      return [
        name,
        create(SignatureDefSchema, { methodName: "predict", inputs: tensors(inputs), outputs: tensors(outputs) }),
      ];
    }),
  );
  return create(MetaGraphDefSchema, {
    graphDef: create(GraphDefSchema, {
      node: parseLines(text.nodes).map((line) => create(NodeDefSchema, nodeDef(line))),
      library: { function: (text.functions ?? []).map(functionDef) },
    }),
    signatureDef,
  });
}
