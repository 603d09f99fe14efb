import type { DType } from "@shardserve/tensor";
import type { Shape } from "../ir/attrs.js";
import type { Graph, GraphNode, TensorRef, ValueInfo } from "../ir/ir.js";

/** A named input or output of a signature. */
export interface PlanTensor {
  readonly alias: string;
  readonly ref: TensorRef;
  readonly dtype: DType;
  /** As the signature's TensorInfo states it; TensorFlow does not hold requests to it. */
  readonly shape: Shape;
  /** An output that is also an input; TensorFlow refuses to fetch it. */
  readonly isFed?: boolean;
}

/** An input of a plan: what a request may send for it. */
export interface PlanInput extends PlanTensor {
  /** The dtype that the graph takes; where it is not `dtype`, every request fails, as in TensorFlow. */
  readonly graphDType: DType;
  /**
   * The shape that the plan was made for. A request whose rank differs, or a dimension that is not -1 here, needs
   * another plan: `planSignature` again with `inputShapes`.
   */
  readonly assumedShape: Shape;
}

/** A variable whose rows are fetched by id instead of being read whole. */
export interface PlannedTable {
  readonly checkpointKey: string;
  /** The variable's own name: what people call it. */
  readonly name: string;
  readonly dtype: DType;
  readonly rows: number;
  /** Shape of one row; [] for rank-1 variables. */
  readonly rowShape: readonly number[];
}

/** One gather that left the graph. */
export interface PlannedLookup {
  /** Name of the gather node; the GatherRows node that stands in for it has the same name. */
  readonly node: string;
  readonly checkpointKey: string;
  /** int32 or int64 ids, any shape. */
  readonly ids: TensorRef;
  /** Ids count from this row of the table (0 but for parts of partitioned variables) ... */
  readonly rowOffset: number;
  /** ... and must lie in [0, rowCount), else ROW_OUT_OF_RANGE. */
  readonly rowCount: number;
  /** The value to feed with the rows: [capacity, ...row shape]. */
  readonly rows: TensorRef;
  /** The value to feed with int32 slots into `rows`, in the shape of the ids. */
  readonly slots: TensorRef;
}

/** Frozen variables that a step reads, by the name of their `Variable` node. */
export type StepVariables = ReadonlyMap<string, string>;

/** Nodes that run on the host, in an order that respects data and control edges. */
export interface HostStep {
  readonly kind: "host";
  readonly id: string;
  readonly nodes: readonly GraphNode[];
  /** Values of earlier steps or of the request. */
  readonly inputs: readonly TensorRef[];
  /** Values that later steps or the response need. */
  readonly outputs: readonly TensorRef[];
  readonly variables: StepVariables;
}

/** Nodes that become one engine graph, in topological order. Const and Variable nodes stand in every step that reads them. */
export interface DeviceStep {
  readonly kind: "device";
  /** Unique within the plan, and stable: the same graph gives the same id. */
  readonly id: string;
  readonly nodes: readonly GraphNode[];
  readonly inputs: readonly TensorRef[];
  readonly outputs: readonly TensorRef[];
  readonly variables: StepVariables;
}

/** All lookups whose ids are ready at this point: one call. */
export interface LookupStep {
  readonly kind: "lookup";
  readonly lookups: readonly PlannedLookup[];
}

/** What a plan does one after the other. */
export type Step = HostStep | DeviceStep | LookupStep;

/** A node that nothing here can run. */
export interface UnsupportedNode {
  readonly op: string;
  readonly node: string;
  readonly signature: string;
  readonly why: string;
}

/** Where a node runs and why, for people. */
export interface NodePlacement {
  readonly node: string;
  readonly op: string;
  /** `dropped`: a check that would cost a detour, see compile.ts. */
  readonly where: "host" | "device" | "lookup" | "nowhere" | "dropped";
  readonly why: string;
}

/** A `Branch` or `Loop` of a plan: every region is a plan whose inputs and outputs go by position ("0", "1", ...). */
export interface ControlPlan {
  readonly node: GraphNode;
  /** Branch: by index; of If, 0 is the false one. Loop: condition, body. */
  readonly regions: readonly SignaturePlan[];
}

/**
 * One signature, compiled to steps that run one after the other. Every output's ref is an input of the signature or an
 * output of some step.
 */
export interface SignaturePlan {
  readonly signature: string;
  readonly method: string;
  readonly inputs: readonly PlanInput[];
  readonly outputs: readonly PlanTensor[];
  /** Steps in order. Empty when `unsupported` is not. */
  readonly steps: readonly Step[];
  readonly lookups: readonly PlannedLookup[];
  readonly tables: readonly PlannedTable[];
  readonly unsupported: readonly UnsupportedNode[];
  /** Control flow among the nodes of host steps, by node name. */
  readonly controls: ReadonlyMap<string, ControlPlan>;
  readonly placements: readonly NodePlacement[];
  /** Every node of the plan by name. */
  readonly graph: Graph;
  /** dtype and shape of every value that is known, by `refKey`. */
  readonly infos: ReadonlyMap<string, ValueInfo>;
  /** Host-state variables that the plan, or a plan inside it, reads or writes: resource key -> checkpoint key of the initial value, if it has one. */
  readonly mutableVariables: ReadonlyMap<string, string | undefined>;
}

/** A plan and those of all its regions, however deep. */
export function* plansWithin(plan: SignaturePlan): Generator<SignaturePlan, void> {
  yield plan;
  for (const { regions } of plan.controls.values()) for (const region of regions) yield* plansWithin(region);
}
