import type { Clock, Logger } from "@shardserve/core";
import type { KernelTable } from "@shardserve/graph";
import type { Ort, TensorFlow } from "@shardserve/native";
import type { RowSource } from "@shardserve/rowstore";
import type { Model } from "@shardserve/servable";

/** Bounds of one loaded model. */
export interface EngineLimits {
  /**
   * Runs of device segments that may be in flight at once; default 4, the threads that Node gives to native calls.
   * More only queue there, in front of file reads.
   */
  readonly concurrentRuns?: number;
  /** Runs that may wait for a place; default 1024. More are RESOURCE_EXHAUSTED. */
  readonly waitingRuns?: number;
  /** Plans kept for inputs whose shapes differ from the signature's, per signature; default 16. */
  readonly planVariants?: number;
}

/** Runs at once, runs that wait, and plans kept for shapes, of one model. */
export const DEFAULT_LIMITS: Required<EngineLimits> = { concurrentRuns: 4, waitingRuns: 1024, planVariants: 16 };

/** What runs the numeric parts of models. `auto`: see {@link LoadModelOptions.engine}. */
export type EngineChoice = "auto" | "onnxruntime" | "tensorflow";

/** What a model was loaded on, and why. */
export interface ModelEngine {
  readonly name: "onnxruntime" | "tensorflow";
  /** "ONNX Runtime 1.30.0", "TensorFlow 2.21.0" */
  readonly library: string;
  readonly device: "cpu" | "gpu";
  /** `whole`: each signature is one run of the engine. `segments`: host steps, lookups and runs of the engine in turn. */
  readonly form: "whole" | "segments";
  readonly why: string;
}

/** A loaded model, and what it runs on. */
export interface EngineModel extends Model {
  readonly engine: ModelEngine;
}

/** How a load gives way to requests that are answered meanwhile. */
export interface LoadPace {
  /** Whether there are such requests: then threads that load have low priority. */
  readonly isBusy: boolean;
  /** Resolves when the load may use the event loop again. */
  pause(): Promise<void>;
}

/** What loading a version directory needs, and which engine it may take. */
export interface LoadModelOptions {
  /** Directory of one version: a SavedModel, or an ONNX model. */
  readonly dir: string;
  /** Exact tag set of the meta graph; default `["serve"]`. */
  readonly tags?: readonly string[];
  readonly ort: Ort;
  /** Absent = models can only run on ONNX Runtime. */
  readonly tensorFlow?: TensorFlow | undefined;
  /**
   * Default `auto`: TensorFlow where it has a GPU, else ONNX Runtime; and a model that the one cannot serve goes to the
   * other, if that can.
   */
  readonly engine?: EngineChoice;
  /**
   * Where the rows of sharded tables come from; their variables need not be in the checkpoint. Rows of other tables come
   * from the mapped checkpoint. Taken over: closed with the model, or when loading fails.
   */
  readonly rowSource?: RowSource;
  /** Kernels of host steps; default those of @shardserve/host-ops. */
  readonly kernels?: KernelTable;
  readonly limits?: EngineLimits;
  /** Default: nobody is served, the load takes what it can get. */
  readonly pace?: LoadPace;
  readonly logger?: Logger;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
  /**
   * Told what the engine will need beside the files once that is known, before it takes it: what it throws ends the load. Of SavedModels on
   * ONNX Runtime; elsewhere it is not known.
   */
  readonly onPlanned?: ((engineBytes: number) => void) | undefined;
}
