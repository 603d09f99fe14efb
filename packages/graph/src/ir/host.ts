import type { CancelSignal } from "@shardserve/core";
import type { Tensor } from "@shardserve/tensor";
import type { GraphNode, NodeContext } from "./ir.js";
import type { TensorList } from "./tensor-list.js";

/** What a resource-valued edge carries on the host: never the thing, only its name in the servable's {@link HostState}. */
export interface ResourceHandle {
  readonly kind: "table" | "variable" | "other";
  /** shared_name, or the node's name where that is empty: see {@link resourceKey}. */
  readonly key: string;
}

/** A value on an edge between host nodes. */
export type HostValue = Tensor | ResourceHandle | TensorList;

/** Tells tensors from handles and lists. */
export function isTensor(value: HostValue): value is Tensor {
  return "dtype" in value;
}

/** Any stateful object of host-ops that outlives a request, such as a lookup table. */
export interface HostResource {
  readonly kind: string;
}

/** Everything that one loaded servable remembers between requests on the host; made and filled by the engine. */
export interface HostState {
  /** Lookup tables and the like by resource key. */
  readonly resources: Map<string, HostResource>;
  /** Mutable variables by resource key. A read of a missing key is FAILED_PRECONDITION, as in TensorFlow. */
  readonly variables: Map<string, Tensor>;
  /** Reads a file that a tensor names (assets arrive as absolute paths). Injected: graph and host-ops do no I/O. */
  readFile(path: string, options: ReadFileOptions): Promise<Uint8Array>;
}

/** For a read of a file by an op, such as ReadFile. */
export interface ReadFileOptions {
  readonly signal?: CancelSignal | undefined;
  /** The path may come from a request: refuse what does not lie among the model's assets. */
  readonly isFromRequest?: boolean;
}

/** One call of a host kernel: a node, its inputs, and the state that outlives requests. */
export interface KernelCall {
  readonly node: GraphNode;
  /** One value per data input, in order. */
  readonly inputs: readonly HostValue[];
  readonly state: HostState;
  readonly signal?: CancelSignal | undefined;
  /** The run that the node is part of, as its engine knows it; absent while constants are folded. */
  readonly run?: object;
}

/**
 * Runs one node on the host. Returns one value per output, in flat order; ops without outputs return [].
 * Throws ServingError with TensorFlow's text where TensorFlow would fail. Inputs are read-only; outputs may alias them.
 * Kernels are synchronous unless they wait for I/O: only those return a promise.
 */
export type HostKernel = (call: KernelCall) => readonly HostValue[] | Promise<readonly HostValue[]>;

/** The kernels of the host, injected into the compiler (constant folding, placement) and the engine. */
export interface KernelTable {
  get(op: string): HostKernel | undefined;
  /** True when the kernel takes this node (dtypes, attributes); else why not. Asked only where `get` has a kernel. */
  supports(node: GraphNode, context: NodeContext): true | string;
}

/** The device's answer to "can you run this node?", injected into the compiler. */
export interface DeviceSupport {
  supports(node: GraphNode, context: NodeContext): true | string;
}

/** The name under which a resource node (VarHandleOp, HashTableV2, ...) keeps its resource in {@link HostState}. */
export function resourceKey(node: GraphNode): string {
  const shared = node.attrs.has("shared_name") ? node.attrs.text("shared_name") : "";
  return shared === "" ? node.name : shared;
}
