import type { Clock, Logger, Random } from "@shardserve/core";
import type { Fingerprint } from "./harness.js";
import type { Loader } from "./loader.js";
import type { MemoryPlan } from "./memory-plan.js";
import type { AspiredVersionPolicy } from "./policy.js";
import type { ProbationSettings } from "./probation.js";
import type { ServableId } from "./servable-id.js";

/** What a {@link Manager} works with. */
export interface ManagerOptions {
  readonly loader: Loader;
  /** Default {@link availabilityPreserving}. */
  readonly policy?: AspiredVersionPolicy;
  readonly clock?: Clock;
  /** Draws the version of a request under a traffic split. */
  readonly random?: Random;
  readonly logger?: Logger;
  /** Tries after the first one; default 5 (--max_num_load_retries). */
  readonly loadRetriesMax?: number;
  /**
   * Longest pause between tries, default 60 000; pauses start at one second and double. A version whose last try failed on an outage is
   * loaded again after this time, too.
   */
  readonly loadRetryIntervalMs?: number;
  /** Loads under way at once, default 2: a load competes with traffic for disk and cores. */
  readonly loadsMax?: number;
  /**
   * Watches a version that takes over, and gives its place back to the version before when it does worse; default: it
   * stays, whatever it does.
   */
  readonly probation?: ProbationSettings;
  /** Called when a version lost its place; it ends in error with this reason. */
  readonly onRollback?: (id: ServableId, to: number, reason: string) => void;
  /** Lets a version that failed be loaded anew once its files changed; default: it stays failed. */
  readonly fingerprint?: Fingerprint;
  /** Bytes that the versions loaded at once may need together, by their plans; default: none are made. */
  readonly memory?: {
    /** Infinity = no limit. */
    readonly limitBytes: number;
    readonly plan: (id: ServableId, path: string) => Promise<MemoryPlan>;
  };
  /** True in tests: nothing happens until `step` is called. Default false: every change steps by itself. */
  readonly stepByHand?: boolean;
}
