import { eachInPieces, type Pieces, ServingError } from "@shardserve/core";
import { tensor, type Tensor } from "@shardserve/tensor";
import { Attrs } from "../ir/attrs.js";
import { resourceKey } from "../ir/host.js";
import type { Graph, GraphNode, TensorRef } from "../ir/ir.js";
import { nodeOf, type Program, pruning, rewriting } from "../ir/program.js";
import { shapeTensor } from "../ir/shape-tensor.js";
import { opDef } from "../op-table.js";
import { type VariableTable, REF_VARIABLES, PASS_THROUGH, READS, isVariableNode, variableOf } from "./variables.js";

/** A `Variable` pseudo-op, as opposed to TensorFlow's oldest op of that name. */
function isResolved(node: GraphNode): boolean {
  return node.op === "Variable" && node.attrs.has("checkpointKey");
}

/** What became of the variables of one program. */
export interface ResolvedVariables {
  readonly program: Program;
  /** Resource key -> checkpoint key of the initial value, for variables that stay host state. */
  readonly mutable: ReadonlyMap<string, string | undefined>;
}

/**
 * Turns reads of frozen variables into `Variable` nodes, which bear the name of the variable's own node, and gathers on
 * resources into plain gathers. Variables that are written, or that the checkpoint does not hold, stay host state; TF1
 * references among them are rewritten to resource handles.
 *
 * @throws ServingError GRAPH_INVALID when a read leads to no variable
 */
export function* resolveVariables(program: Program, table: VariableTable): Pieces<ResolvedVariables> {
  const resolver = new Resolver(program.graph, table);
  yield* eachInPieces(program.graph.values(), (node) => resolver.visit(node));
  const rewritten = yield* rewriting(program, resolver.aliases, resolver.replaced);
  return { program: yield* pruning(rewritten), mutable: resolver.mutable };
}

class Resolver {
  readonly aliases = new Map<string, TensorRef>();
  readonly replaced = new Map<string, GraphNode>();
  readonly mutable = new Map<string, string | undefined>();
  readonly #graph: Graph;
  readonly #table: VariableTable;

  constructor(graph: Graph, table: VariableTable) {
    this.#graph = graph;
    this.#table = table;
  }

  visit(node: GraphNode): void {
    if (isVariableNode(node)) this.#variable(node);
    else if (READS.has(node.op) || node.op === "IsVariableInitialized") this.#read(node);
    else this.#consumer(node);
  }

  #variable(node: GraphNode): void {
    if (isResolved(node)) return;
    const frozen = frozenVariable(node, this.#table);
    if (frozen) {
      this.replaced.set(node.name, frozen);
      return;
    }
    this.mutable.set(resourceKey(node), this.#table.bindings.get(node.name)?.checkpointKey);
    if (node.op === "VarHandleOp") return;
    const handle = handleName(node);
    const attrs = new Attrs("VarHandleOp", {
      shared_name: resourceKey(node),
      dtype: node.attrs.dtype("dtype"),
      shape: node.attrs.shape("shape") ?? null,
    });
    this.replaced.set(handle, { name: handle, op: "VarHandleOp", inputs: [], controls: [], attrs });
    this.replaced.set(node.name, this.#readOf(node.name, node, node.controls));
  }

  /** Reads through a resource handle, and IsVariableInitialized through a reference. */
  #read(node: GraphNode): void {
    const variable = this.#variableOf(node);
    const frozen = frozenVariable(variable, this.#table);
    const value = this.#valueOf(node, variable);
    const { inputs, controls } = node;
    switch (node.op) {
      case "ReadVariableOp":
        // Identity, not an alias: the read may be what ties an effect to its consumers.
        if (frozen) this.#replace(node, "Identity", [value], { T: frozen.attrs.dtype("dtype") });
        else if (variable.op === "VarHandleOp") {
          this.replaced.set(node.name, {
            ...node,
            attrs: node.attrs.with({ shape: variable.attrs.shape("shape") ?? null }),
          });
        }
        break;
      case "ResourceGather":
      case "ResourceGatherNd":
        this.#gather(node, variable, frozen);
        break;
      case "VariableShape":
        if (frozen) this.#constant(node, shapeTensor(frozen.attrs.shape("shape")!, node.attrs.dtype("out_type")));
        break;
      case "DisableCopyOnRead":
        this.replaced.set(node.name, { ...node, op: "NoOp", inputs: [], attrs: new Attrs("NoOp") });
        break;
      default:
        if (frozen) this.#constant(node, tensor("bool", [], Uint8Array.of(1)));
        else if (variable.op !== "VarHandleOp") {
          this.replaced.set(node.name, { ...node, inputs: [handleOf(variable), ...inputs.slice(1)], controls });
        }
    }
  }

  /** The value of a frozen variable as a read gets it: over the Switch that puts the read on one side of a conditional. */
  #valueOf(node: GraphNode, variable: GraphNode): TensorRef {
    let source = nodeOf(this.#graph, node.inputs[0]!.node);
    for (let steps = 0; source !== variable && steps <= this.#graph.size; steps++) {
      if (source.op === "Switch" || source.op === "RefSwitch") return node.inputs[0]!;
      if (source.inputs.length === 0) break;
      source = nodeOf(this.#graph, source.inputs[0]!.node);
    }
    return { node: variable.name, index: 0 };
  }

  #gather(node: GraphNode, variable: GraphNode, frozen: GraphNode | undefined): void {
    const ids = node.inputs[1]!;
    const dtype = frozen ? frozen.attrs.dtype("dtype") : node.attrs.dtype("dtype");
    let params = this.#valueOf(node, variable);
    if (!frozen) {
      const name = `${node.name}/read`;
      this.replaced.set(name, this.#readOf(name, variable, node.controls));
      params = { node: name, index: 0 };
    }
    const types = { Tparams: dtype, Tindices: node.attrs.dtype("Tindices") };
    if (node.op === "ResourceGatherNd") {
      this.#replace(node, "GatherNd", [params, ids], types);
      return;
    }
    const batchDims = node.attrs.int("batch_dims");
    if (batchDims === 0) {
      this.#replace(node, "Gather", [params, ids], types);
      return;
    }
    const axis = { name: `${node.name}/axis`, op: "Const", inputs: [], controls: [] };
    const value = tensor("int32", [], Int32Array.of(batchDims));
    this.replaced.set(axis.name, { ...axis, attrs: new Attrs("Const", { value, dtype: "int32" }) });
    const attrs = { ...types, Taxis: "int32", batch_dims: batchDims };
    this.#replace(node, "GatherV2", [params, ids, { node: axis.name, index: 0 }], attrs);
  }

  /** Anything else that touches a TF1 reference to a mutable variable: writes take the handle, reads a read. */
  #consumer(node: GraphNode): void {
    if (PASS_THROUGH.has(node.op) && node.op !== "Identity") return;
    const def = opDef(node.op);
    const controls = new Set(node.controls);
    let changed = false;
    const inputs = node.inputs.map((ref, i) => {
      if (!this.#isReference(ref)) return ref;
      const variable = variableOf(this.#graph, ref);
      if (!variable || variable.op === "VarHandleOp" || frozenVariable(variable, this.#table)) return ref;
      if (def?.inputs[i]?.isRef) {
        changed = true;
        // A reference that came out of another write: wait for that write.
        if (ref.node !== variable.name) controls.add(ref.node);
        return handleOf(variable);
      }
      // The value as of now, not as of the first read in the request.
      if (node.controls.length === 0 || node.op === "Identity") return ref;
      const name = `${node.name}/read_${i}`;
      this.replaced.set(name, this.#readOf(name, variable, node.controls));
      changed = true;
      return { node: name, index: 0 };
    });
    const source = node.op === "Identity" && node.controls.length > 0 ? this.#mutableReference(node) : undefined;
    if (source) this.replaced.set(node.name, this.#readOf(node.name, source, node.controls));
    else if (changed) this.replaced.set(node.name, { ...node, inputs, controls: [...controls] });
  }

  #mutableReference(node: GraphNode): GraphNode | undefined {
    if (!this.#isReference(node.inputs[0]!)) return undefined;
    const variable = variableOf(this.#graph, node.inputs[0]!);
    return variable && variable.op !== "VarHandleOp" && !frozenVariable(variable, this.#table) ? variable : undefined;
  }

  #isReference(ref: TensorRef): boolean {
    const { op } = nodeOf(this.#graph, ref.node);
    return REF_VARIABLES.has(op) || op.startsWith("Ref") || opDef(op)?.outputs[ref.index]?.isRef === true;
  }

  #variableOf(node: GraphNode): GraphNode {
    const variable = node.inputs[0] && variableOf(this.#graph, node.inputs[0]);
    if (variable) return variable;
    throw new ServingError(
      "GRAPH_INVALID",
      `node "${node.name}" (${node.op}) reads a resource that leads to no variable`,
    );
  }

  #readOf(name: string, variable: GraphNode, controls: readonly string[]): GraphNode {
    const shape = variable.attrs.shape("shape") ?? null;
    const attrs = new Attrs("ReadVariableOp", { dtype: variable.attrs.dtype("dtype"), shape });
    return { name, op: "ReadVariableOp", inputs: [handleOf(variable)], controls, attrs };
  }

  #replace(node: GraphNode, op: string, inputs: TensorRef[], attrs: ConstructorParameters<typeof Attrs>[1]): void {
    this.replaced.set(node.name, { ...node, op, inputs, attrs: new Attrs(op, attrs) });
  }

  #constant(node: GraphNode, value: Tensor): void {
    this.#replace(node, "Const", [], { value, dtype: value.dtype });
  }
}

function handleName(variable: GraphNode): string {
  return `${variable.name}/handle`;
}

function handleOf(variable: GraphNode): TensorRef {
  return { node: variable.op === "VarHandleOp" ? variable.name : handleName(variable), index: 0 };
}

/** The `Variable` node of a variable that serving only reads and the checkpoint holds. */
function frozenVariable(node: GraphNode, table: VariableTable): GraphNode | undefined {
  const binding = table.bindings.get(node.name);
  const entry = binding && table.entries.get(binding.checkpointKey);
  if (isResolved(node)) return node;
  if (!binding || !entry || table.written.has(node.name)) return undefined;
  const { checkpointKey, slice } = binding;
  const shape = slice?.shape ?? entry.shape;
  const attrs = new Attrs("Variable", {
    checkpointKey,
    dtype: entry.dtype,
    shape,
    ...(slice ? { sliceStart: slice.start, sliceLength: slice.shape } : {}),
  });
  return { name: node.name, op: "Variable", inputs: [], controls: [], attrs };
}
