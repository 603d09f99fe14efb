import type { CancelSignal, TraceParent } from "@shardserve/core";
import type { DType, Tensor } from "@shardserve/tensor";
import type { RowsReport } from "./rows-report.js";

/** One input or output of a signature, as tensorflow.TensorInfo describes it. */
export interface TensorSpec {
  /** Alias in the signature: the name that a request uses. */
  readonly name: string;
  /** The declared dtype: metadata shows it, JSON is converted to it. */
  readonly dtype: DType;
  /** What the graph takes, where that differs: old exporters declared float for placeholders of strings. */
  readonly feedDType?: DType;
  /** Elements per dimension, -1 = any; undefined = unknown rank. */
  readonly shape: readonly number[] | undefined;
  /** Name inside the graph, such as "x:0"; error texts of TensorFlow Serving show it. */
  readonly tensorName: string;
}

/** One callable of a model: tensorflow.SignatureDef without what only a loader needs. */
export interface SignatureInfo {
  readonly name: string;
  /** method_name, such as "tensorflow/serving/predict"; may be empty. */
  readonly method: string;
  readonly inputs: ReadonlyMap<string, TensorSpec>;
  readonly outputs: ReadonlyMap<string, TensorSpec>;
  /** Values of inputs that a gRPC request may leave out. */
  readonly defaults: ReadonlyMap<string, Tensor>;
}

/** Milliseconds spent in each stage of one run. */
export interface RunTimings {
  readonly hostMs: number;
  readonly lookupMs: number;
  readonly deviceMs: number;
}

/** The answer of one run. */
export interface RunResult {
  /** Exactly the outputs that were asked for. */
  readonly outputs: ReadonlyMap<string, Tensor>;
  /** Absent where the model looks up no rows but its own. */
  readonly report?: RowsReport;
  readonly timings: RunTimings;
}

/** What a run computes, and what ends it early. */
export interface RunOptions {
  /** Output aliases to compute; absent = all of the signature. */
  readonly outputs?: readonly string[];
  readonly signal?: CancelSignal;
  /** Moment of the clock (`clock.nowMs()`) after which the answer is worthless. */
  readonly deadlineMs?: number;
  /** The report tells how each lookup got its rows. */
  readonly isExplained?: boolean;
  /** What other processes do for the run is traced inside of it; absent = the run is not traced. */
  readonly traceParent?: TraceParent;
  /** All rows of the run are of this epoch, where there are several; absent = each of the one in force when it is looked up. */
  readonly epoch?: number;
  /**
   * Whether the run answers all requests that are under way: then the event loop has nothing better to do than to compute. Asked
   * when the run is about to; absent = never.
   */
  readonly isAlone?: () => boolean;
}

/** A loaded version. It knows nothing of names, versions, wires or batching. */
export interface Model {
  readonly signatures: ReadonlyMap<string, SignatureInfo>;
  /** Serialised tensorflow.serving.SignatureDefMap: the answer to GetModelMetadata. */
  readonly metadata: Uint8Array;
  /** Signatures that every request for is refused, and why; absent = there are none. */
  readonly broken?: ReadonlyMap<string, string>;
  /**
   * Runs one signature. The caller passes every input of the signature (defaults filled in) with the signature's dtype;
   * shapes are the model's to check. May be called many times at once; input tensors are not retained after it settles.
   *
   * @throws ServingError; the signal's reason when it aborts
   */
  run(signature: string, inputs: ReadonlyMap<string, Tensor>, options: RunOptions): Promise<RunResult>;
  /** Releases everything. Called once, after the last run settled. */
  close(): Promise<void>;
}
