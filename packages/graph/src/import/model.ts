import { GraphDefSchema, create, type MetaGraphDef, type SignatureDef, type TensorInfo } from "@shardserve/api";
import { eachInPieces, type Pause, type Pieces, runAtOnce, runInTurns, ServingError } from "@shardserve/core";
import type { VariableBinding } from "@shardserve/savedmodel";
import { type DType, dtypeFromTf, strings } from "@shardserve/tensor";
import { Attrs, type Shape } from "../ir/attrs.js";
import { resourceKey } from "../ir/host.js";
import { inlining } from "../ir/inline.js";
import { uniqueName } from "../ir/unique-name.js";
import { type Graph, type GraphNode, refKey, type TensorRef } from "../ir/ir.js";
import { nodeOf, type Program, pruning, rewriting } from "../ir/program.js";
import { hasEffect } from "../passes/control/effects.js";
import { constantNode } from "../passes/rewrites/fold.js";
import { expandModules } from "../stablehlo/expand-modules.js";
import { denseParts } from "./dense-parts.js";
import { type FunctionLibrary, importGraph, importShape, parseRef } from "./import.js";
import {
  type CheckpointTensor,
  isVariableNode,
  resourceOf,
  type VariableTable,
  writtenVariables,
} from "./variables.js";

/** The signature under which TensorFlow 2 keeps the init op, and the name of the init plan. */
export const INIT_SIGNATURE = "__saved_model_init_op";

const RESERVED_SIGNATURES = new Set([INIT_SIGNATURE, "__saved_model_train_op"]);

/** A named tensor of a signature. */
export interface SignatureTensor {
  readonly alias: string;
  readonly ref: TensorRef;
  readonly dtype: DType;
  readonly shape: Shape;
  /** An output that is also an input; TensorFlow refuses to fetch it. */
  readonly isFed?: boolean;
}

/** A signature of the MetaGraph: its method ("tensorflow/serving/predict", ...) and its tensors. */
export interface Signature {
  readonly name: string;
  readonly method: string;
  readonly inputs: readonly SignatureTensor[];
  readonly outputs: readonly SignatureTensor[];
}

/** What a MetaGraph alone does not say: variables, their checkpoint, the init op. */
export interface ModelOptions {
  /** By name of the variable's node: `variableBindings(...).variables` of @shardserve/savedmodel. */
  readonly bindings: ReadonlyMap<string, VariableBinding>;
  /** By checkpoint key: `BundleReader.entries`; empty for a model without variables. */
  readonly entries: ReadonlyMap<string, CheckpointTensor>;
  /** Node that initialises the model after loading, if there is one: `initOp(metaGraph)` of @shardserve/savedmodel. */
  readonly initOp?: string | undefined;
}

/** A MetaGraph made ready for planning. Immutable; plans of all signatures are made from one. */
export interface ModelGraph {
  readonly graph: Graph;
  readonly library: FunctionLibrary;
  readonly signatures: ReadonlyMap<string, Signature>;
  /** Signatures that cannot be read (sparse tensors, unknown dtypes, dangling names), with the reason. */
  readonly broken: ReadonlyMap<string, string>;
  /** Fetches of each signature with all calls inlined, feeds in place. */
  readonly programs: ReadonlyMap<string, Program>;
  readonly variables: VariableTable;
  /** Checkpoint key -> the name that people know the variable by; unique. */
  readonly names: ReadonlyMap<string, string>;
  readonly initOp: string | undefined;
}

/**
 * Reads a MetaGraph: imports the graph, inlines what its signatures call, and finds out which variables serving writes.
 *
 * @throws ServingError GRAPH_INVALID when the graph itself is inconsistent
 */
export function importModel(metaGraph: MetaGraphDef, options: ModelOptions): ModelGraph {
  return runAtOnce(importing(metaGraph, options));
}

/** {@link importModel} for servers: other work gets its turn between signatures. */
export function importModelInTurns(
  metaGraph: MetaGraphDef,
  options: ModelOptions & { readonly signal?: AbortSignal; readonly pause?: Pause | undefined },
): Promise<ModelGraph> {
  return runInTurns(importing(metaGraph, options), options.signal, options.pause);
}

function* importing(metaGraph: MetaGraphDef, options: ModelOptions): Pieces<ModelGraph> {
  const { graph, library } = yield* importGraph(yield* expandModules(metaGraph.graphDef ?? create(GraphDefSchema)));
  const read = readSignatures(metaGraph);
  const signatures = new Map<string, Signature>();
  const broken = new Map(read.broken);
  const programs = new Map<string, Program>();
  const written = new Set<string>();
  for (const [name, signature] of read.signatures) {
    yield;
    try {
      const fed = yield* feed(
        { graph, outputs: signature.outputs.map(({ ref }) => ref), targets: [] },
        signature.inputs,
      );
      const program = yield* inlining(yield* pruning(fed.program), library);
      const rename = (tensor: SignatureTensor, ref: TensorRef): SignatureTensor => ({ ...tensor, ref });
      signatures.set(name, {
        ...signature,
        inputs: signature.inputs.map((tensor, i) => rename(tensor, fed.inputs[i]!)),
        outputs: signature.outputs.map((tensor, i) => rename(tensor, fed.program.outputs[i]!)),
      });
      programs.set(name, program);
      for (const variable of writtenVariables(program, library)) written.add(variable);
    } catch (error) {
      if (!(error instanceof ServingError)) throw error;
      broken.set(name, error.message);
    }
  }
  const { bindings, entries, initOp } = options;
  if (initOp !== undefined && graph.has(initOp)) {
    const init = yield* observableInit(yield* initProgram(graph, library, initOp, new Map()), programs);
    for (const variable of writtenVariables(init, library)) written.add(variable);
  }
  const variables = { bindings, entries, written };
  const names = yield* variableNames(graph, bindings);
  return { graph, library, signatures, broken, programs, variables, names, initOp };
}

/**
 * The init op's program with its calls inlined.
 *
 * @param assets path of each asset by the name of the tensor that takes it ("asset_path:0")
 */
export function* initProgram(
  graph: Graph,
  library: FunctionLibrary,
  initOp: string,
  assets: ReadonlyMap<string, string>,
): Pieces<Program> {
  const aliases = new Map<string, TensorRef>();
  const added = new Map<string, GraphNode>();
  for (const [tensorName, path] of assets) {
    const ref = parseRef(tensorName);
    const name = uniqueName(`${ref.node}/asset`, (candidate) => graph.has(candidate) || added.has(candidate));
    added.set(name, constantNode(name, strings([], [path])));
    aliases.set(refKey(ref), { node: name, index: 0 });
  }
  const { node } = parseRef(initOp);
  const program = yield* rewriting({ graph, outputs: [], targets: [node] }, aliases, added);
  return yield* inlining(yield* pruning(program), library);
}

/**
 * Leaves out of an init program what no signature can notice: initialisers of variables and tables that serving never
 * reads (optimiser slots, counters of steps), which may need ops that serving does not.
 */
export function* observableInit(program: Program, programs: ReadonlyMap<string, Program>): Pieces<Program> {
  const observed = new Set<string>();
  for (const { graph } of programs.values()) yield* eachInPieces(graph.keys(), (name) => observed.add(name));
  for (;;) {
    const isKept = (node: GraphNode): boolean => {
      const resources = node.inputs.map((ref) => resourceOf(program.graph, ref)).filter((name) => name !== undefined);
      return !hasEffect(node) || resources.length === 0 || resources.some((name) => observed.has(name));
    };
    const graph = new Map<string, GraphNode>();
    yield* eachInPieces(program.graph, ([name, node]) => {
      graph.set(
        name,
        isKept(node) ? node : { name, op: "NoOp", inputs: [], controls: node.controls, attrs: new Attrs("NoOp") },
      );
    });
    const kept = yield* pruning({ ...program, graph });
    // What a kept initialiser reads is observed in turn: a table that is filled from a variable.
    const before = observed.size;
    for (const name of kept.graph.keys()) observed.add(name);
    if (observed.size === before) return kept;
  }
}

/** What a MetaGraph's signatures say; `broken` ones cannot be read (sparse tensors, unknown dtypes). */
export function readSignatures(metaGraph: MetaGraphDef): Pick<ModelGraph, "signatures" | "broken"> {
  const signatures = new Map<string, Signature>();
  const broken = new Map<string, string>();
  for (const [name, def] of Object.entries(metaGraph.signatureDef)) {
    if (RESERVED_SIGNATURES.has(name)) continue;
    try {
      signatures.set(name, readSignature(name, def));
    } catch (error) {
      if (!(error instanceof ServingError)) throw error;
      broken.set(name, error.message);
    }
  }
  return { signatures, broken };
}

function readSignature(name: string, def: SignatureDef): Signature {
  const read = (tensors: Readonly<Record<string, TensorInfo>>): SignatureTensor[] =>
    Object.entries(tensors)
      .flatMap(([alias, info]) => denseParts(alias, info))
      .map(({ alias, info }) => readTensorInfo(name, alias, info))
      .sort((a, b) => (a.alias < b.alias ? -1 : 1));
  const inputs = read(def.inputs);
  const fed = new Set(inputs.map(({ ref }) => refKey(ref)));
  const outputs = read(def.outputs).map((tensor) =>
    fed.has(refKey(tensor.ref)) ? { ...tensor, isFed: true } : tensor,
  );
  return { name, method: def.methodName, inputs, outputs };
}

function readTensorInfo(signature: string, alias: string, info: TensorInfo): SignatureTensor {
  if (info.encoding.case !== "name") {
    throw new ServingError("GRAPH_INVALID", `signature "${signature}", tensor "${alias}" has no name in the graph`);
  }
  const shape = info.tensorShape ? (importShape(info.tensorShape) ?? undefined) : undefined;
  return { alias, ref: parseRef(info.encoding.value), dtype: dtypeFromTf(info.dtype), shape };
}

/** Puts a Placeholder in the place of every fed value; the value's own producer stays for its other outputs. */
function* feed(
  program: Program,
  inputs: readonly SignatureTensor[],
): Pieces<{ program: Program; inputs: TensorRef[] }> {
  const aliases = new Map<string, TensorRef>();
  const added = new Map<string, GraphNode>();
  const refs = inputs.map(({ ref, dtype, shape }): TensorRef => {
    const known = aliases.get(refKey(ref)) ?? (added.has(ref.node) && ref.index === 0 ? ref : undefined);
    if (known) return known;
    const source = nodeOf(program.graph, ref.node);
    const isWhole =
      source.op === "Placeholder" || source.op === "PlaceholderWithDefault" || source.op === "PlaceholderV2";
    const name = isWhole
      ? ref.node
      : uniqueName(`${ref.node}/feed_${ref.index}`, (candidate) => program.graph.has(candidate));
    // Graphs older than TensorFlow 1.4 say [] where they mean an unknown rank.
    const own = isWhole && source.attrs.has("shape") ? source.attrs.shape("shape") : undefined;
    const hint = shape ?? (own?.length === 0 ? undefined : own);
    // What the graph takes counts, whatever the signature says: a signature that lies fails when it is fed.
    const taken = isWhole ? source.attrs.dtype("dtype") : dtype;
    const attrs = new Attrs("Placeholder", { dtype: taken, shape: hint ?? null, fed: true });
    added.set(name, { name, op: "Placeholder", inputs: [], controls: [], attrs });
    if (!isWhole) aliases.set(refKey(ref), { node: name, index: 0 });
    return { node: name, index: 0 };
  });
  return { program: yield* rewriting(program, aliases, added), inputs: refs };
}

const KEY_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE";

/**
 * Names of the variables by checkpoint key: the shared_name, which Keras and estimators make readable; the object path of
 * the key where that is taken, or for parts of a partitioned variable, whose key is the name of the whole.
 */
function* variableNames(graph: Graph, bindings: ReadonlyMap<string, VariableBinding>): Pieces<Map<string, string>> {
  const candidates = new Map<string, string>();
  const uses = new Map<string, number>();
  yield* eachInPieces(bindings, ([nodeName, { checkpointKey, slice }]) => {
    const node = graph.get(nodeName);
    if (candidates.has(checkpointKey) || !node || !isVariableNode(node)) return;
    const name = slice ? checkpointKey : resourceKey(node);
    candidates.set(checkpointKey, name);
    uses.set(name, (uses.get(name) ?? 0) + 1);
  });
  const names = new Map<string, string>();
  for (const [key, name] of candidates) {
    const path = key.endsWith(KEY_SUFFIX) ? key.slice(0, -KEY_SUFFIX.length) : key;
    names.set(key, uses.get(name) === 1 ? name : path);
  }
  return names;
}
