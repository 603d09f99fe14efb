import type { Clock, Logger } from "@shardserve/core";
import type { KernelTable } from "@shardserve/graph";
import type { Ort } from "@shardserve/native";
import type { RowSource } from "@shardserve/rowstore";

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

export interface LoadModelOptions {
  /** SavedModel directory: one version. */
  readonly dir: string;
  /** Exact tag set of the meta graph; default `["serve"]`. */
  readonly tags?: readonly string[];
  readonly ort: Ort;
  /**
   * Where the rows of sharded tables come from; their variables need not be in the checkpoint. Rows of other tables come
   * from the mapped checkpoint. Taken over: closed with the model, or when loading fails.
   */
  readonly rowSource?: RowSource;
  /** Kernels of host steps; default those of @shardserve/host-ops. */
  readonly kernels?: KernelTable;
  readonly limits?: EngineLimits;
  readonly logger?: Logger;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
}
