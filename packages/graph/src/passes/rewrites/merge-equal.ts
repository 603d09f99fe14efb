import { eachInPieces, type Pieces } from "@shardserve/core";
import { bytesOf, isNumeric, type NumericData, type Tensor } from "@shardserve/tensor";
import type { Inference } from "../../infer/inference.js";
import { type Attrs, type AttrValue, LazyTensor } from "../../ir/attrs.js";
import { constantOf, type GraphNode, outputKey, refKey, type TensorRef } from "../../ir/ir.js";
import { type Program, pruning, rewriting } from "../../ir/program.js";
import { opDef } from "../../op-table.js";
import { hasEffect } from "../control/effects.js";

/** Larger constants are not compared: two equal ones are rare, and cost memory, not time. */
const CONSTANT_BYTES_MAX = 1024;

/**
 * Lets nodes that compute the same share one: the same op of the same inputs with the same attributes, where it depends on
 * nothing else. Exporters repeat themselves: Keras checks every input with the reductions that it then computes with.
 */
export function* mergeEqual(given: Program, inference: Inference): Pieces<Program> {
  const program = freeConstants(given);
  const awaited = new Set(program.targets);
  for (const { controls } of program.graph.values()) for (const control of controls) awaited.add(control);
  yield;
  const known = new Map<string, string>();
  const merged = new Map<string, string>();
  const resolved = ({ node, index }: TensorRef): string => outputKey(merged.get(node) ?? node, index);
  yield* eachInPieces(inference.order, ({ name }) => {
    const node = program.graph.get(name)!;
    if (!isPure(node, inference) || awaited.has(node.name)) return;
    const attrs = attrsKey(node);
    if (attrs === undefined) return;
    const key = `${node.op}(${node.inputs.map(resolved).join()})${attrs}`;
    const first = known.get(key);
    if (first === undefined) known.set(key, node.name);
    else merged.set(node.name, first);
  });
  if (merged.size === 0) return program;
  const aliases = new Map<string, TensorRef>();
  const addAliases = (refs: readonly TensorRef[]): void => {
    for (const ref of refs) {
      const node = merged.get(ref.node);
      if (node !== undefined) aliases.set(refKey(ref), { node, index: ref.index });
    }
  };
  addAliases(program.outputs);
  yield* eachInPieces(program.graph.values(), ({ inputs }) => addAliases(inputs));
  return yield* pruning(yield* rewriting(program, aliases));
}

/**
 * Constants that wait for an Assert need not: the Asserts become targets instead. Function bodies make every constant wait
 * for the checks before it, which would keep each from being equal to another.
 */
function freeConstants(program: Program): Program {
  const asserts = new Set<string>();
  const freed = new Map<string, GraphNode>();
  const isAssert = (name: string): boolean => program.graph.get(name)?.op === "Assert";
  for (const node of program.graph.values()) {
    if (node.op !== "Const" || node.controls.length === 0 || !node.controls.every(isAssert)) continue;
    for (const control of node.controls) asserts.add(control);
    freed.set(node.name, { ...node, controls: [] });
  }
  if (asserts.size === 0) return program;
  const targets = [...new Set([...program.targets, ...asserts])];
  return { ...program, graph: new Map([...program.graph, ...freed]), targets };
}

function isPure(node: GraphNode, inference: Inference): boolean {
  if (node.controls.length > 0 || node.regions || hasEffect(node)) return false;
  if (node.op === "Const") return true;
  if (node.inputs.length === 0 || opDef(node.op)?.isStateful !== false) return false;
  const values = [...node.inputs, { node: node.name, index: 0 }];
  return values.every((ref) => {
    const dtype = inference.info(ref)?.dtype;
    return dtype !== undefined && dtype !== "resource" && dtype !== "variant";
  });
}

/** Nodes keep their attributes from one program to the next, and signatures share them. What they say depends on the op that reads them. */
const KEYS = new WeakMap<Attrs, { readonly op: string; readonly key: string | undefined }>();

/** Equal for equal attributes; undefined where they are not compared. */
function attrsKey(node: GraphNode): string | undefined {
  let known = KEYS.get(node.attrs);
  if (known?.op !== node.op) KEYS.set(node.attrs, (known = { op: node.op, key: makeAttrsKey(node) }));
  return known.key;
}

function makeAttrsKey(node: GraphNode): string | undefined {
  if (node.op === "Const") {
    const value = constantOf(node);
    return value && tensorKey(value);
  }
  const parts: string[] = [];
  for (const name of opDef(node.op)!.attrTypes.keys()) {
    const part = valueKey(node.attrs, name);
    if (part === undefined) return undefined;
    parts.push(part);
  }
  return parts.join(";");
}

function tensorKey({ dtype, shape, data }: Tensor): string | undefined {
  if (!isNumeric(dtype)) return undefined;
  const bytes = bytesOf(data as NumericData);
  if (bytes.length > CONSTANT_BYTES_MAX) return undefined;
  return `${dtype}[${shape.join()}]${Buffer.from(bytes).toString("latin1")}`;
}

function valueKey(attrs: Attrs, name: string): string | undefined {
  const value = attrs.get(name);
  if (value === undefined) return "";
  return plainKey(value);
}

function plainKey(value: AttrValue): string | undefined {
  if (typeof value === "string" || typeof value === "boolean" || value === null) return JSON.stringify(value);
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString("latin1"));
  if (value instanceof LazyTensor || !Array.isArray(value)) return undefined; // tensors and functions
  const parts = (value as readonly AttrValue[]).map(plainKey);
  return parts.includes(undefined) ? undefined : `[${parts.join()}]`;
}
