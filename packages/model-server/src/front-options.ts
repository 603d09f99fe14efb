import type { Clock, Logger } from "@shardserve/core";
import type { Manager } from "@shardserve/servable";
import type { ServerLimits } from "./limits.js";
import type { ServerMetrics } from "./metrics.js";
import type { Predictor } from "./predict/predictor.js";
import type { RequestScopes } from "./scope.js";
import type { Access } from "./security/access.js";
import type { Tracing } from "./tracing/tracing.js";

/** What answering requests takes, over gRPC and REST alike. */
export interface FrontOptions {
  readonly manager: Manager;
  readonly predictor: Predictor;
  readonly metrics: ServerMetrics;
  readonly scopes: RequestScopes;
  readonly limits: ServerLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  /** False while the server refuses new requests. */
  readonly isOpen: () => boolean;
  /** What /readyz and ServerReady answer. */
  readonly isReady: () => boolean;
  /** The program's version. */
  readonly serverVersion: string;
  /** Absent = everybody may do everything. */
  readonly access: Access | undefined;
  /** Absent = requests are not traced. */
  readonly tracing: Tracing | undefined;
}
