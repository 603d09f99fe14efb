/**
 * Writes small serving graphs without TensorFlow, for load tests and fixtures whose models must be made on the spot.
 * The result is what TensorFlow 1 would export: resource variables, restored by RestoreV2 in the main graph.
 */
import {
  type AttrValue,
  create,
  type NodeDef,
  NodeDefSchema,
  type SavedModel,
  SavedModelSchema,
  type SignatureDef,
  SignatureDefSchema,
} from "@shardserve/api";
import { invariant } from "@shardserve/core";
import { type DType, DTYPES, strings, type Tensor } from "@shardserve/tensor";
import { attr, shapeProto } from "./attributes.js";

/** `producer` of TensorFlow 2.x graphs. */
const GRAPH_VERSION = 1087;

/** Of a node that is added to a graph. */
export interface NodeOptions {
  readonly name?: string;
  readonly attrs?: Readonly<Record<string, AttrValue>>;
  /** Nodes that must run before. */
  readonly controls?: readonly string[];
}

/** A tensor of the graph with what a signature says of it; -1 is an unknown dimension. */
export interface SignatureTensor {
  readonly ref: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

interface Variable {
  readonly handle: string;
  readonly key: string;
  readonly dtype: DType;
}

/** References are TensorFlow's: `node` for output 0, `node:k` for output k. */
export class GraphBuilder {
  readonly #nodes: NodeDef[] = [];
  readonly #names = new Set<string>();
  readonly #variables: Variable[] = [];

  /** Adds a node; a taken name gets a suffix. @returns its name, which is also the reference to its first output */
  node(op: string, inputs: readonly string[], options: NodeOptions = {}): string {
    const wanted = options.name ?? op;
    let name = wanted;
    for (let i = 1; this.#names.has(name); i++) name = `${wanted}_${i}`;
    this.#names.add(name);
    const input = [...inputs, ...(options.controls ?? []).map((control) => `^${control}`)];
    this.#nodes.push(create(NodeDefSchema, { name, op, input, attr: { ...options.attrs } }));
    return name;
  }

  placeholder(name: string, dtype: DType, shape: readonly number[]): string {
    return this.node("Placeholder", [], { name, attrs: { dtype: attr.type(dtype), shape: attr.shape(shape) } });
  }

  constant(value: Tensor, name = "Const"): string {
    return this.node("Const", [], { name, attrs: { dtype: attr.type(value.dtype), value: attr.tensor(value) } });
  }

  /**
   * A resource variable that the restore op fills from the checkpoint.
   *
   * @param key  checkpoint key, also the variable's name
   * @returns reference of its handle
   */
  variable(key: string, dtype: DType, shape: readonly number[]): string {
    invariant(!this.#names.has(key), `variable "${key}" is added twice`);
    const handle = this.node("VarHandleOp", [], {
      name: key,
      attrs: {
        dtype: attr.type(dtype),
        shape: attr.shape(shape),
        shared_name: attr.text(key),
        container: attr.text(""),
      },
    });
    this.#variables.push({ handle, key, dtype });
    return handle;
  }

  /** The value of a variable. */
  read(handle: string, dtype: DType): string {
    return this.node("ReadVariableOp", [handle], { name: `${handle}/Read`, attrs: { dtype: attr.type(dtype) } });
  }

  /** Rows `ids` of a variable `[rows, ...]`. */
  gather(handle: string, ids: string, dtype: DType, idsDType: "int32" | "int64"): string {
    const attrs = {
      dtype: attr.type(dtype),
      Tindices: attr.type(idsDType),
      batch_dims: attr.int(0),
      validate_indices: attr.bool(true),
    };
    return this.node("ResourceGather", [handle, ids], { name: `${handle}/Gather`, attrs });
  }

  /** The model with tag `serve`; its restore op reads every variable from the key that it was added with. */
  savedModel(signatures: Readonly<Record<string, SignatureDef>>): SavedModel {
    const filename = this.constant(strings([], ["model"]), "save/filename");
    const prefix = this.node("PlaceholderWithDefault", [filename], {
      name: "save/Const",
      attrs: { dtype: attr.type("string"), shape: attr.shape([]) },
    });
    const saved = this.#save(prefix);
    const restoreOpName = this.#restore(prefix);
    return create(SavedModelSchema, {
      savedModelSchemaVersion: 1n,
      metaGraphs: [
        {
          metaInfoDef: { tags: ["serve"], tensorflowVersion: "2.21.0", strippedDefaultAttrs: true },
          graphDef: { node: this.#nodes, versions: { producer: GRAPH_VERSION, minConsumer: 12 } },
          saverDef: {
            filenameTensorName: "save/Const:0",
            saveTensorName: `${saved}:0`,
            restoreOpName,
            maxToKeep: 1,
            version: 2,
          },
          signatureDef: { ...signatures },
        },
      ],
    });
  }

  #restore(prefix: string): string {
    if (this.#variables.length === 0) return this.node("NoOp", [], { name: "save/restore_all" });
    const dtypes = this.#variables.map((variable) => variable.dtype);
    const restored = this.node("RestoreV2", [prefix, ...this.#namesAndSlices("save/RestoreV2")], {
      name: "save/RestoreV2",
      attrs: { dtypes: attr.types(dtypes) },
    });
    const controls = this.#variables.map(({ handle, dtype }, i) => {
      const attrs = { dtype: attr.type(dtype) };
      const value = this.node("Identity", [i === 0 ? restored : `${restored}:${i}`], {
        name: "save/Identity",
        attrs: { T: attr.type(dtype) },
      });
      return this.node("AssignVariableOp", [handle, value], { name: "save/AssignVariableOp", attrs });
    });
    return this.node("NoOp", [], { name: "save/restore_all", controls });
  }

  /** TensorFlow's loader looks the saver's tensors up by name, so that there must be a save op too. */
  #save(prefix: string): string {
    if (this.#variables.length === 0) return prefix;
    const values = this.#variables.map(({ handle, dtype }) => this.read(handle, dtype));
    const saved = this.node("SaveV2", [prefix, ...this.#namesAndSlices("save/SaveV2"), ...values], {
      name: "save/SaveV2",
      attrs: { dtypes: attr.types(this.#variables.map((variable) => variable.dtype)) },
    });
    return this.node("Identity", [prefix], {
      name: "save/control_dependency",
      attrs: { T: attr.type("string") },
      controls: [saved],
    });
  }

  #namesAndSlices(scope: string): [string, string] {
    const keys = this.#variables.map((variable) => variable.key);
    const names = this.constant(strings([keys.length], keys), `${scope}/tensor_names`);
    return [
      names,
      this.constant(
        strings(
          [keys.length],
          keys.map(() => ""),
        ),
        `${scope}/shape_and_slices`,
      ),
    ];
  }
}

/** A signature of method `tensorflow/serving/predict`. */
export function predictSignature(
  inputs: Readonly<Record<string, SignatureTensor>>,
  outputs: Readonly<Record<string, SignatureTensor>>,
): SignatureDef {
  return create(SignatureDefSchema, {
    inputs: tensorInfos(inputs),
    outputs: tensorInfos(outputs),
    methodName: "tensorflow/serving/predict",
  });
}

function tensorInfos(tensors: Readonly<Record<string, SignatureTensor>>) {
  return Object.fromEntries(
    Object.entries(tensors).map(([alias, { ref, dtype, shape }]) => [
      alias,
      {
        encoding: { case: "name" as const, value: ref.includes(":") ? ref : `${ref}:0` },
        dtype: DTYPES[dtype].tf,
        tensorShape: shapeProto(shape),
      },
    ]),
  );
}
