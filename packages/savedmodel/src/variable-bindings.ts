/**
 * Which checkpoint tensor fills which variable, found by evaluating the restore op symbolically. That works for every
 * exporter, because it is what TensorFlow itself runs: TensorFlow 1 has RestoreV2 -> Assign in the main graph,
 * TensorFlow 2 has them in functions. Names of variables would not do: they need not be unique, nor equal to keys.
 */
import { type FunctionDef, type MetaGraphDef, type NodeDef } from "@shardserve/api";
import { eachInPieces, type Pieces, runAtOnce, ServingError } from "@shardserve/core";
import { decodeTensorProto, DTYPES, type StringColumn } from "@shardserve/tensor";
import type { BundleEntry } from "./bundle/bundle-index.js";
import { capturedObjects, variablesByName } from "./object-graph.js";
import { restoreOp, VARIABLE_OPS } from "./saved-model.js";

/** A checkpoint tensor, or a box of it for one piece of a partitioned variable. */
export interface VariableBinding {
  readonly checkpointKey: string;
  readonly slice?: SliceSpec;
}

/** The box `[start, start + shape)` of a tensor of `fullShape`. */
export interface SliceSpec {
  readonly fullShape: readonly number[];
  readonly start: readonly number[];
  readonly shape: readonly number[];
}

/** Checkpoint tensors that fill a mutable hash table. */
export interface TableBinding {
  readonly keys: string;
  readonly values: string;
}

/** The resources of boosted trees, and what the restore op makes them of. */
const ENSEMBLE_OP = "BoostedTreesEnsembleResourceHandleOp";

/** Which checkpoint key each variable and table of a MetaGraph is restored from. */
export interface Bindings {
  /** By name of the variable's node (VarHandleOp, VariableV2) in the main graph. */
  readonly variables: ReadonlyMap<string, VariableBinding>;
  /** By name of the table's node in the main graph. */
  readonly tables: ReadonlyMap<string, TableBinding>;
  /** Checkpoint keys of serialised tree ensembles, by name of the ensemble's node in the main graph. */
  readonly ensembles: ReadonlyMap<string, string>;
  /** Variable nodes of the main graph that the restore op leaves alone: an initialiser fills them, or nothing does. */
  readonly unbound: readonly string[];
}

type Entries = ReadonlyMap<string, Pick<BundleEntry, "crc32c" | "size" | "dtype" | "shape">>;

const TABLE_OPS = new Set([
  "MutableHashTableV2",
  "MutableHashTable",
  "MutableDenseHashTableV2",
  "MutableHashTableOfTensorsV2",
  "HashTableV2",
  "HashTable",
]);
const PASS_THROUGH_OPS = new Set(["Identity", "Cast", "Reshape", "StopGradient", "EnsureShape"]);
const CALL_OPS = new Set(["PartitionedCall", "StatefulPartitionedCall"]);
const CALL_DEPTH_MAX = 64;
const STEPS_MAX = 4_000_000;

/**
 * Binds variables and mutable tables of a meta graph to checkpoint tensors.
 *
 * A variable that the restore op leaves alone (Keras 3 exports: the signatures use other nodes than the restore op)
 * takes the tensor of a node with an equal shared_name; else that of the object that it stands for as a capture of a
 * concrete function; else that of the objects of its shared_name, provided that they all hold the same bytes.
 *
 * @param entries  `BundleReader.entries` of the checkpoint
 * @param keysOfObjects  `objectKeys(metaGraph, reader)`; only Keras 3 exports need it
 * @throws ServingError SAVED_MODEL_INVALID when the restore op is missing or names a tensor that the checkpoint lacks
 */
export function variableBindings(...args: Parameters<typeof bindingVariables>): Bindings {
  return runAtOnce(bindingVariables(...args));
}

/** {@link variableBindings} in pieces. */
export function* bindingVariables(
  metaGraph: MetaGraphDef,
  entries: Entries,
  keysOfObjects: ReadonlyMap<number, string> = new Map(),
): Pieces<Bindings> {
  const evaluator = new Evaluator(metaGraph);
  yield;
  const restore = restoreOp(metaGraph);
  if (restore) yield* evaluator.runMain(restore.node);
  for (const [node, { checkpointKey }] of evaluator.variables) {
    if (!entries.has(checkpointKey)) {
      throw new ServingError(
        "SAVED_MODEL_INVALID",
        `variable "${node}" is restored from "${checkpointKey}", which the checkpoint lacks`,
      );
    }
  }
  const unbound = yield* bindRest(metaGraph, evaluator.variables, entries, keysOfObjects);
  return { variables: evaluator.variables, tables: evaluator.tables, ensembles: evaluator.ensembles, unbound };
}

function* bindRest(
  metaGraph: MetaGraphDef,
  variables: Map<string, VariableBinding>,
  entries: Entries,
  keysOfObjects: ReadonlyMap<number, string>,
): Pieces<string[]> {
  const nodes = (metaGraph.graphDef?.node ?? []).filter((node) => VARIABLE_OPS.has(node.op));
  const bySharedName = new Map<string, VariableBinding>();
  for (const node of nodes) {
    const binding = variables.get(node.name);
    if (binding) bySharedName.set(sharedName(node), binding);
  }
  const captured = capturedObjects(metaGraph);
  const byName = variablesByName(metaGraph);
  const unbound: string[] = [];
  yield* eachInPieces(nodes, (node) => {
    if (variables.has(node.name)) return;
    const object = captured.get(node.name);
    const candidates = object === undefined ? (byName.get(sharedName(node)) ?? []) : [object];
    const keys = candidates.map((id) => keysOfObjects.get(id));
    const key = commonKey(
      keys.filter((candidate) => couldHold(node, candidate === undefined ? undefined : entries.get(candidate))),
      entries,
    );
    const binding = bySharedName.get(sharedName(node)) ?? (key === undefined ? undefined : { checkpointKey: key });
    if (binding) variables.set(node.name, binding);
    else unbound.push(node.name);
  });
  return unbound;
}

/**
 * False when a tensor is not of the variable's dtype and shape. Names alone deceive: the variable that an asset's path goes
 * into may be called like one of the model's.
 */
function couldHold(node: NodeDef, entry: Pick<BundleEntry, "dtype" | "shape"> | undefined): boolean {
  if (!entry) return true; // commonKey sees to it
  const dtype = node.attr["dtype"]?.value;
  if (dtype?.case === "type" && dtype.value !== DTYPES[entry.dtype].tf) return false;
  const shape = node.attr["shape"]?.value;
  if (shape?.case !== "shape" || shape.value.unknownRank) return true;
  const { dim } = shape.value;
  return dim.length === entry.shape.length && dim.every(({ size }, i) => size < 0n || Number(size) === entry.shape[i]);
}

/** The first of some keys whose tensors hold the same bytes; undefined when they differ, or one is missing. */
function commonKey(keys: readonly (string | undefined)[], entries: Entries): string | undefined {
  const stored = keys.map((key) => (key === undefined ? undefined : entries.get(key)));
  if (keys.length === 1) return stored[0] ? keys[0] : undefined;
  const same = stored.every(
    (entry) => entry && entry.size > 0 && entry.crc32c === stored[0]?.crc32c && entry.size === stored[0]?.size,
  );
  return same ? keys[0] : undefined;
}

/** Identity of a resource within a session; an empty shared_name means the node's own name. */
function sharedName(node: NodeDef): string {
  const value = node.attr["shared_name"]?.value;
  const text = value?.case === "s" ? Buffer.from(value.value).toString() : "";
  return text === "" ? node.name : text;
}

type Value =
  | { readonly kind: "strings"; readonly column: StringColumn }
  | { readonly kind: "restored"; readonly binding: VariableBinding }
  | { readonly kind: "handle"; readonly node: NodeDef };

type Values = readonly (Value | undefined)[];

/** Evaluates the nodes of one graph or function body, each once; what cannot matter for restoring is undefined. */
class Evaluator {
  readonly variables = new Map<string, VariableBinding>();
  readonly tables = new Map<string, TableBinding>();
  readonly ensembles = new Map<string, string>();
  readonly #main: ReadonlyMap<string, NodeDef>;
  readonly #functions: ReadonlyMap<string, FunctionDef>;
  #steps = 0;

  constructor(metaGraph: MetaGraphDef) {
    this.#main = byName(metaGraph.graphDef?.node ?? []);
    this.#functions = new Map(
      metaGraph.graphDef?.library?.function.map((definition) => [definition.signature?.name ?? "", definition]),
    );
  }

  *runMain(restoreNode: string): Pieces<void> {
    if (!this.#main.has(restoreNode)) {
      throw new ServingError(
        "SAVED_MODEL_INVALID",
        `the restore op "${restoreNode}" is not in the graph; export the model again`,
      );
    }
    yield* this.#run(this.#main, [restoreNode], new Map(), 0);
  }

  /** Runs `targets` and what they need; returns the values of every node that ran. */
  *#run(
    nodes: ReadonlyMap<string, NodeDef>,
    targets: Iterable<string>,
    args: ReadonlyMap<string, Value | undefined>,
    depth: number,
  ): Pieces<Map<string, Values>> {
    const done = new Map<string, Values>();
    const entered = new Set<string>();
    const stack = [...targets];
    while (stack.length > 0) {
      yield;
      const name = stack.at(-1)!;
      const node = nodes.get(name);
      if (!node || done.has(name)) {
        stack.pop();
        continue;
      }
      if (entered.has(name)) {
        done.set(name, yield* this.#evaluate(node, (reference) => resolve(reference, done, args), depth));
        stack.pop();
        continue;
      }
      if (++this.#steps > STEPS_MAX)
        throw new ServingError("SAVED_MODEL_INVALID", `restoring runs more than ${STEPS_MAX} nodes`);
      entered.add(name);
      for (const input of node.input) {
        const producer = nodeOf(input);
        if (!entered.has(producer)) stack.push(producer); // a cycle (a loop's back edge) is cut here
      }
    }
    return done;
  }

  *#evaluate(node: NodeDef, read: (reference: string) => Value | undefined, depth: number): Pieces<Values> {
    const inputs = node.input.filter((input) => !input.startsWith("^")).map(read);
    if (VARIABLE_OPS.has(node.op) || TABLE_OPS.has(node.op) || node.op === ENSEMBLE_OP)
      return [{ kind: "handle", node }];
    if (PASS_THROUGH_OPS.has(node.op)) return [inputs[0]];
    if (CALL_OPS.has(node.op)) return yield* this.#call(calledFunction(node), inputs, depth);
    if (this.#functions.has(node.op)) return yield* this.#call(node.op, inputs, depth);
    switch (node.op) {
      case "IdentityN":
        return inputs;
      case "Const":
        return [stringConstant(node)];
      case "RestoreV2":
        return restored(inputs[1], inputs[2]);
      case "Restore":
        return restored(inputs[1], undefined);
      case "AssignVariableOp":
      case "Assign":
        this.#assign(inputs[0], inputs[1]);
        return [inputs[0]];
      case "LookupTableImportV2":
      case "LookupTableImport":
        this.#import(inputs[0], inputs[1], inputs[2]);
        return [];
      case "BoostedTreesDeserializeEnsemble":
        if (inputs[0]?.kind === "handle" && inputs[2]?.kind === "restored") {
          this.ensembles.set(inputs[0].node.name, inputs[2].binding.checkpointKey);
        }
        return [];
      default:
        return [];
    }
  }

  #assign(handle: Value | undefined, value: Value | undefined): void {
    if (handle?.kind === "handle" && value?.kind === "restored") this.variables.set(handle.node.name, value.binding);
  }

  #import(handle: Value | undefined, keys: Value | undefined, values: Value | undefined): void {
    if (handle?.kind !== "handle" || keys?.kind !== "restored" || values?.kind !== "restored") return;
    this.tables.set(handle.node.name, { keys: keys.binding.checkpointKey, values: values.binding.checkpointKey });
  }

  *#call(name: string | undefined, inputs: Values, depth: number): Pieces<Values> {
    const definition = name === undefined ? undefined : this.#functions.get(name);
    if (!definition?.signature) return [];
    if (depth >= CALL_DEPTH_MAX)
      throw new ServingError(
        "SAVED_MODEL_INVALID",
        `functions call each other more than ${CALL_DEPTH_MAX} deep while restoring`,
      );
    const args = new Map(definition.signature.inputArg.map((arg, i) => [arg.name, inputs[i]]));
    const nodes = byName(definition.nodeDef);
    const done = yield* this.#run(nodes, nodes.keys(), args, depth + 1);
    return definition.signature.outputArg.map((output) => resolve(definition.ret[output.name] ?? "", done, args));
  }
}

function byName(nodes: readonly NodeDef[]): Map<string, NodeDef> {
  return new Map(nodes.map((node) => [node.name, node]));
}

/** "^n", "n", "n:1" and "n:output:1" -> "n". */
function nodeOf(reference: string): string {
  const start = reference.startsWith("^") ? 1 : 0;
  const colon = reference.indexOf(":", start);
  return colon < 0 ? reference.slice(start) : reference.slice(start, colon);
}

/** Every op of interest has one output argument, so that the last number of a reference is the flat output index. */
function resolve(
  reference: string,
  done: ReadonlyMap<string, Values>,
  args: ReadonlyMap<string, Value | undefined>,
): Value | undefined {
  const node = nodeOf(reference);
  if (args.has(node)) return args.get(node);
  return done.get(node)?.[Number(/:(\d+)$/.exec(reference)?.[1] ?? 0)];
}

function calledFunction(node: NodeDef): string | undefined {
  const value = node.attr["f"]?.value;
  return value?.case === "func" ? value.value.name : undefined;
}

function stringConstant(node: NodeDef): Value | undefined {
  const value = node.attr["value"]?.value;
  const dtype = node.attr["dtype"]?.value;
  if (value?.case !== "tensor" || dtype?.case !== "type" || dtype.value !== 7) return undefined;
  try {
    const constant = decodeTensorProto(value.value);
    return constant.dtype === "string" ? { kind: "strings", column: constant.data as StringColumn } : undefined;
  } catch (cause) {
    throw new ServingError("SAVED_MODEL_INVALID", `constant "${node.name}": ${(cause as Error).message}`, { cause });
  }
}

function restored(names: Value | undefined, slices: Value | undefined): Values {
  if (names?.kind !== "strings") return [];
  return Array.from({ length: names.column.length }, (_, i): Value => {
    const spec = slices?.kind === "strings" && i < slices.column.length ? slices.column.textAt(i) : "";
    const slice = parseSliceSpec(spec);
    const checkpointKey = names.column.textAt(i);
    return { kind: "restored", binding: slice ? { checkpointKey, slice } : { checkpointKey } };
  });
}

/**
 * "10 4 0,4:0,4" -> full shape [10, 4], start [0, 0], shape [4, 4]; "-" stands for a whole dimension, "" for the whole
 * tensor (tensorflow/core/util/saved_tensor_slice_util.cc, ParseShapeAndSlice).
 *
 * @returns undefined for a whole tensor
 * @throws ServingError SAVED_MODEL_INVALID for any other text
 */
export function parseSliceSpec(text: string): SliceSpec | undefined {
  if (text === "") return undefined;
  const words = text.trim().split(/\s+/);
  const extents = words.pop()!.split(":");
  const fullShape = words.map(Number);
  const start: number[] = [];
  const shape: number[] = [];
  extents.forEach((extent, i) => {
    const [from, length] = extent === "-" ? [0, fullShape[i]] : extent.split(",").map(Number);
    start.push(from ?? NaN);
    shape.push(length ?? NaN);
  });
  const numbers = [...fullShape, ...start, ...shape];
  if (extents.length !== fullShape.length || numbers.some((value) => !Number.isSafeInteger(value) || value < 0)) {
    throw new ServingError("SAVED_MODEL_INVALID", `shape_and_slices "${text}" cannot be read`);
  }
  const whole = start.every((from) => from === 0) && shape.every((length, i) => length === fullShape[i]);
  return whole ? undefined : { fullShape, start, shape };
}
