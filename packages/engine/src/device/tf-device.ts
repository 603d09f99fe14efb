import { create, GraphDefSchema, type NodeDef, NodeDefSchema, toBinary } from "@shardserve/api";
import { invariant } from "@shardserve/core";
import {
  Attrs,
  exportNode,
  type GraphNode,
  type NodeContext,
  opDef,
  refKey,
  type TensorRef,
  tensorName,
  type ValueInfo,
} from "@shardserve/graph";
import {
  OrtValue,
  type TensorFlow,
  type TfCallable,
  type TfKernel,
  type TfOutput,
  type TfSession,
  TfTensor,
} from "@shardserve/native";
import { isNumeric, scalar, type Tensor } from "@shardserve/tensor";
import type { Checkpoint } from "../load/checkpoint.js";
import type { Device, DeviceRunOptions, DeviceSession, DeviceValue, PlannedDeviceStep } from "./device.js";

/** Kernels that TensorFlow registers for these devices can run here. */
const DEVICES = new Set(["CPU", "GPU", "DEFAULT"]);

/** True when some kernel takes the op with these dtypes of its type attributes. */
export function hasKernel(kernels: readonly TfKernel[], dtypeOf: (attr: string) => string | undefined): boolean {
  return kernels.some(
    ({ device, dtypes }) =>
      DEVICES.has(device) &&
      [...dtypes].every(([attr, allowed]) => {
        const dtype = dtypeOf(attr);
        return dtype === undefined || allowed.size === 0 || allowed.has(dtype as never);
      }),
  );
}

/**
 * Device steps on TensorFlow, one graph for all that are opened together. Weights are variables, assigned once from the
 * mapped checkpoint: a graph that holds them would end at 2 GiB.
 */
export class TfDevice implements Device {
  readonly #tensorFlow: TensorFlow;
  readonly #checkpoint: Checkpoint;
  readonly #sessions: TfSession[] = [];
  /** Values of variables by checkpoint key and box; the variables of all sessions share their memory. */
  readonly #weights = new Map<string, TfTensor>();

  constructor(tensorFlow: TensorFlow, checkpoint: Checkpoint) {
    this.#tensorFlow = tensorFlow;
    this.#checkpoint = checkpoint;
  }

  readonly supports = (node: GraphNode, { inputs, outputs }: NodeContext): true | string => {
    if (node.op === "GatherRows") return true;
    const def = opDef(node.op);
    if (!def || !this.#tensorFlow.hasOp(node.op)) return `TensorFlow ${this.#tensorFlow.version} has no op ${node.op}`;
    const strange = [...inputs, ...outputs].find(({ dtype }) => dtype !== "string" && !isNumeric(dtype));
    if (strange) return `it works on a ${strange.dtype}`;
    const typeOf = (attr: string): string | undefined => {
      if (node.attrs.has(attr)) return node.attrs.dtype(attr);
      const input = def.inputs.findIndex(({ typeAttr }) => typeAttr === attr);
      return input >= 0 ? inputs[input]?.dtype : undefined;
    };
    if (hasKernel(this.#tensorFlow.kernelsOf(node.op), typeOf)) return true;
    return `TensorFlow ${this.#tensorFlow.version} has no kernel for ${node.op} of these types`;
  };

  async open(steps: readonly PlannedDeviceStep[]): Promise<DeviceSession[]> {
    if (steps.length === 0) return [];
    const writer = new SegmentWriter();
    const callables = steps.map(({ step, infos }, i) => {
      const prefix = `s${i}/`;
      for (const ref of step.inputs) writer.placeholder(prefix, ref, infos);
      for (const node of step.nodes) writer.node(prefix, node, infos);
      return {
        feeds: step.inputs.map((ref) => ({ node: writer.nameOf(prefix, ref), index: 0 })),
        fetches: step.outputs.map((ref): TfOutput => ({ node: `${prefix}${ref.node}`, index: ref.index })),
      };
    });
    const graphDef = create(GraphDefSchema, { node: writer.nodes, versions: { producer: GRAPH_PRODUCER } });
    const session = await this.#tensorFlow.createSession(toBinary(GraphDefSchema, graphDef));
    this.#sessions.push(session);
    await this.#assign(session, writer.variables);
    return callables.map(({ feeds, fetches }) => new TfSegment(session.callable(feeds, fetches)));
  }

  async close(): Promise<void> {
    for (const session of this.#sessions) session.close();
    for (const weight of this.#weights.values()) weight.dispose();
    this.#sessions.length = 0;
    this.#weights.clear();
  }

  async #assign(session: TfSession, variables: readonly SegmentVariable[]): Promise<void> {
    if (variables.length === 0) return;
    const values: TfTensor[] = [];
    for (const { node } of variables) values.push(await this.#weight(node));
    const feeds = variables.map(({ value }) => ({ node: value, index: 0 }));
    await session
      .callable(
        feeds,
        [],
        variables.map(({ assign }) => assign),
      )
      .run(values);
  }

  async #weight({ attrs }: GraphNode): Promise<TfTensor> {
    const checkpointKey = attrs.text("checkpointKey");
    const box = attrs.has("sliceStart")
      ? { start: attrs.ints("sliceStart"), length: attrs.ints("sliceLength") }
      : undefined;
    const key = box ? `${checkpointKey} ${box.start.join()} ${box.length.join()}` : checkpointKey;
    let weight = this.#weights.get(key);
    if (!weight) {
      const mapped = this.#checkpoint.mapped(checkpointKey, box);
      weight = mapped
        ? TfTensor.overMemory(mapped.dtype, mapped.shape, mapped.memory)
        : TfTensor.fromTensor(await this.#checkpoint.readOnce(checkpointKey, box));
      this.#weights.set(key, weight);
    }
    return weight;
  }
}

/** versions.producer of the graphs that we write: ops mean what they mean in TensorFlow 2.9 and later. */
const GRAPH_PRODUCER = 1087;

interface SegmentVariable {
  readonly node: GraphNode;
  /** Placeholder that takes the value, and the node that assigns it. */
  readonly value: string;
  readonly assign: string;
}

/** Writes segments into one GraphDef, each under a prefix of its own. */
class SegmentWriter {
  readonly nodes: NodeDef[] = [];
  readonly variables: SegmentVariable[] = [];
  /** Fed refs -> the placeholder that stands for them. */
  readonly #fed = new Map<string, string>();

  placeholder(prefix: string, ref: TensorRef, infos: ReadonlyMap<string, ValueInfo>): void {
    const info = infos.get(refKey(ref));
    invariant(info, `the type of ${refKey(ref)} is known`);
    const name = `${prefix}fed_${this.#fed.size}`;
    this.#fed.set(prefix + refKey(ref), name);
    this.#add({ name, op: "Placeholder", inputs: [], attrs: { dtype: info.dtype } });
  }

  nameOf(prefix: string, ref: TensorRef): string {
    return this.#fed.get(prefix + refKey(ref)) ?? prefix + tensorName(ref);
  }

  node(prefix: string, node: GraphNode, infos: ReadonlyMap<string, ValueInfo>): void {
    const name = prefix + node.name;
    if (node.op === "Variable") this.#variable(name, node);
    else if (node.op === "GatherRows") this.#gatherRows(prefix, node, infos);
    else this.nodes.push(exportNode(node, name, infos, (ref) => this.nameOf(prefix, ref)));
  }

  #variable(name: string, node: GraphNode): void {
    const dtype = node.attrs.dtype("dtype");
    const [handle, value, assign] = [`${name}/handle`, `${name}/value`, `${name}/assign`];
    this.#add({ name: handle, op: "VarHandleOp", inputs: [], attrs: { dtype, shape: null, shared_name: handle } });
    this.#add({ name: value, op: "Placeholder", inputs: [], attrs: { dtype } });
    this.#add({ name: assign, op: "AssignVariableOp", inputs: [handle, value], attrs: { dtype } });
    this.#add({ name, op: "ReadVariableOp", inputs: [handle], attrs: { dtype } });
    this.variables.push({ node, value, assign });
  }

  #gatherRows(prefix: string, node: GraphNode, infos: ReadonlyMap<string, ValueInfo>): void {
    const name = prefix + node.name;
    const [rows, slots] = node.inputs as [TensorRef, TensorRef];
    const axis = `${name}/axis`;
    this.#add({ name: axis, op: "Const", inputs: [], attrs: { dtype: "int32", value: scalar("int32", 0) } });
    const attrs = { Tparams: infos.get(refKey(rows))!.dtype, Tindices: "int32", Taxis: "int32" };
    this.#add({ name, op: "GatherV2", inputs: [this.nameOf(prefix, rows), this.nameOf(prefix, slots), axis], attrs });
  }

  #add(made: {
    readonly name: string;
    readonly op: string;
    readonly inputs: readonly string[];
    readonly attrs: ConstructorParameters<typeof Attrs>[1];
  }): void {
    const { name, op, inputs } = made;
    const node: GraphNode = { name, op, inputs: [], controls: [], attrs: new Attrs(op, made.attrs) };
    const bare = exportNode(node, name, new Map(), () => "");
    this.nodes.push(create(NodeDefSchema, { ...bare, input: [...inputs] }));
  }
}

/** One segment of a session. */
class TfSegment implements DeviceSession {
  readonly #callable: TfCallable;

  constructor(callable: TfCallable) {
    this.#callable = callable;
  }

  /** Rows and slots of a lookup are aliased: nothing in a segment keeps or changes what it is fed. */
  feed(value: Tensor | DeviceValue): DeviceValue {
    if (value instanceof TfTensor) return value;
    if (!(value instanceof OrtValue)) return TfTensor.fromTensor(value);
    invariant(isNumeric(value.dtype), "rows are numbers");
    return TfTensor.overMemory(value.dtype, value.shape, value.memory());
  }

  run(feeds: readonly DeviceValue[], options: DeviceRunOptions): Promise<DeviceValue[]> {
    return this.#callable.run(feeds as readonly TfTensor[], options);
  }

  runSync(feeds: readonly DeviceValue[]): DeviceValue[] {
    return this.#callable.runSync(feeds as readonly TfTensor[]);
  }
}
