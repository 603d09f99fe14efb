/**
 * The one error class of shardserve and its table of codes.
 *
 * Three kinds of failure exist. *Operating errors* stand in {@link ERRORS}: they are expected, cross package and
 * process boundaries and are handled. *Programmer errors* are `invariant()` failures (see invariant.ts) and are never
 * handled. *Aborts* are an AbortSignal's reason, passed on unchanged.
 *
 * docs/errors.md lists the same table; a structure test keeps the two equal.
 */

/** gRPC status codes by name (google.rpc.Code). */
export const GRPC_STATUS = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** Names of the gRPC status codes, as google.rpc.Code has them. */
export type GrpcStatusName = keyof typeof GRPC_STATUS;

/** HTTP status of each gRPC status, as TensorFlow Serving maps them (util/net_http/.../status_code.h). */
export const HTTP_STATUS = {
  OK: 200,
  CANCELLED: 499,
  UNKNOWN: 500,
  INVALID_ARGUMENT: 400,
  DEADLINE_EXCEEDED: 504,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  PERMISSION_DENIED: 403,
  RESOURCE_EXHAUSTED: 429,
  FAILED_PRECONDITION: 400,
  ABORTED: 409,
  OUT_OF_RANGE: 400,
  UNIMPLEMENTED: 501,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  DATA_LOSS: 500,
  UNAUTHENTICATED: 401,
} as const satisfies Record<GrpcStatusName, number>;

/** `never`: the same call fails again. `refresh`: fetch newer state first. `backoff`: the same call may succeed later. */
export type RetryAdvice = "never" | "refresh" | "backoff";

/** What a code of {@link ERRORS} stands for: its status on the wire, what a caller may do, its line in docs/errors.md. */
export interface ErrorSpec {
  readonly status: GrpcStatusName;
  readonly retry: RetryAdvice;
  /** What happened, in one line, as docs/errors.md shows it. */
  readonly text: string;
}

/** Every failure that crosses a package boundary. A code is stable: it may be retired, never reused. */
export const ERRORS = {
  // Requests
  INVALID_ARGUMENT: { status: "INVALID_ARGUMENT", retry: "never", text: "the request is malformed" },
  NOT_FOUND: { status: "NOT_FOUND", retry: "never", text: "the named thing does not exist" },
  FAILED_PRECONDITION: {
    status: "FAILED_PRECONDITION",
    retry: "never",
    text: "the request does not fit the state of the servable",
  },
  ROW_OUT_OF_RANGE: {
    status: "INVALID_ARGUMENT",
    retry: "never",
    text: "a row id lies outside its table",
  },
  OUT_OF_RANGE: { status: "OUT_OF_RANGE", retry: "never", text: "an op's input lies outside its range" },
  DATA_LOSS: { status: "DATA_LOSS", retry: "never", text: "a serialised message among an op's inputs is damaged" },
  DEADLINE_EXCEEDED: {
    status: "DEADLINE_EXCEEDED",
    retry: "never",
    text: "the deadline passed before the work was done",
  },
  CANCELLED: { status: "CANCELLED", retry: "never", text: "the caller cancelled the work" },
  UNAUTHENTICATED: { status: "UNAUTHENTICATED", retry: "never", text: "the request shows no token that is known" },
  PERMISSION_DENIED: {
    status: "PERMISSION_DENIED",
    retry: "never",
    text: "the token does not allow what is asked for, or the system does not let a file be read",
  },
  RESOURCE_EXHAUSTED: { status: "RESOURCE_EXHAUSTED", retry: "backoff", text: "a bounded queue or budget is full" },
  UNIMPLEMENTED: { status: "UNIMPLEMENTED", retry: "never", text: "the operation is not supported" },
  INTERNAL: { status: "INTERNAL", retry: "never", text: "an unexpected failure inside shardserve" },
  DRAINING: { status: "UNAVAILABLE", retry: "refresh", text: "the process is draining and takes no new work" },
  UNAVAILABLE: { status: "UNAVAILABLE", retry: "backoff", text: "a needed peer cannot be reached now" },
  // Models on disk
  SAVED_MODEL_INVALID: { status: "FAILED_PRECONDITION", retry: "never", text: "a SavedModel cannot be read" },
  CHECKPOINT_INVALID: { status: "FAILED_PRECONDITION", retry: "never", text: "a checkpoint cannot be read" },
  CHECKSUM_MISMATCH: { status: "DATA_LOSS", retry: "never", text: "stored bytes do not match their checksum" },
  MANIFEST_INVALID: { status: "FAILED_PRECONDITION", retry: "never", text: "a version's manifest cannot be read" },
  PARTITION_INVALID: { status: "FAILED_PRECONDITION", retry: "never", text: "a partition file cannot be read" },
  DELTA_INVALID: { status: "FAILED_PRECONDITION", retry: "never", text: "a delta cannot be read" },
  DELTA_OUT_OF_ORDER: {
    status: "FAILED_PRECONDITION",
    retry: "never",
    text: "a delta does not follow the one before it",
  },
  OP_UNSUPPORTED: {
    status: "UNIMPLEMENTED",
    retry: "never",
    text: "a serving graph needs an op that no engine here has",
  },
  GRAPH_INVALID: { status: "FAILED_PRECONDITION", retry: "never", text: "a serving graph is inconsistent" },
  ENGINE_FAILED: { status: "INTERNAL", retry: "never", text: "the engine failed to load or to run a segment" },
  MEMORY_LIMIT: {
    status: "RESOURCE_EXHAUSTED",
    retry: "backoff",
    text: "a version does not fit into the memory limit now",
  },
  MODEL_TOO_LARGE: { status: "RESOURCE_EXHAUSTED", retry: "never", text: "a model does not fit a stated limit" },
  ROLLED_BACK: {
    status: "FAILED_PRECONDITION",
    retry: "never",
    text: "the version did worse than the one before it and lost its place",
  },
  LOAD_FAILED: { status: "UNKNOWN", retry: "never", text: "models did not become available" },
  // Export
  OUTPUT_EXISTS: {
    status: "ALREADY_EXISTS",
    retry: "never",
    text: "the output already exists and is never overwritten",
  },
  DISK_FULL: { status: "RESOURCE_EXHAUSTED", retry: "never", text: "the disk is full, or the quota used up" },
  PARITY_FAILED: {
    status: "FAILED_PRECONDITION",
    retry: "never",
    text: "reduced-precision rows exceed the parity bound",
  },
  // Cluster
  ROWS_DEGRADED: {
    status: "UNAVAILABLE",
    retry: "backoff",
    text: "more rows could only be stale or defaults than the operator or the caller accepts",
  },
  TABLE_NOT_FOUND: { status: "NOT_FOUND", retry: "never", text: "a table is not part of the version" },
  PARTITION_NOT_OWNED: {
    status: "FAILED_PRECONDITION",
    retry: "refresh",
    text: "the shard does not hold the partition",
  },
  VERSION_NOT_READY: { status: "UNAVAILABLE", retry: "backoff", text: "the version is not loaded here yet" },
  EPOCH_MISMATCH: { status: "FAILED_PRECONDITION", retry: "refresh", text: "the epoch of rows and request differ" },
  DIGEST_MISMATCH: { status: "DATA_LOSS", retry: "never", text: "a peer holds other bytes than the manifest names" },
  FRAME_INVALID: { status: "INVALID_ARGUMENT", retry: "never", text: "a frame violates the wire format" },
  STATE_INVALID: {
    status: "DATA_LOSS",
    retry: "never",
    text: "a state file (--state-dir) is damaged, or of another cluster or program",
  },
  REGISTRY_CONFLICT: { status: "ABORTED", retry: "refresh", text: "the registry changed since it was read" },
  REGISTRY_DENIED: { status: "PERMISSION_DENIED", retry: "never", text: "the registry refuses the credentials" },
  REGISTRY_UNAVAILABLE: { status: "UNAVAILABLE", retry: "backoff", text: "the registry cannot be reached" },
  LEASE_LOST: { status: "ABORTED", retry: "refresh", text: "a lease ended and its keys are gone" },
  PLACEMENT_INFEASIBLE: { status: "FAILED_PRECONDITION", retry: "never", text: "no placement satisfies the request" },
  // Operators
  CONFIG_INVALID: { status: "INVALID_ARGUMENT", retry: "never", text: "a configuration value is refused" },
  DEPENDENCY_MISSING: { status: "FAILED_PRECONDITION", retry: "never", text: "a needed program or library is absent" },
} as const satisfies Record<string, ErrorSpec>;

/** A code of {@link ERRORS}. Codes are stable: one that is retired is never used again. */
export type ErrorCode = keyof typeof ERRORS;

/** What a {@link ServingError} may carry beside its code and message. */
export interface ErrorOptions {
  /** The failure beneath, kept for logs. */
  readonly cause?: unknown;
  /** Plain data that a program may need: names, offsets, limits. Never the message over again. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** An operating error. The message says what happened, where, and what to do. */
export class ServingError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ServingError";
    this.code = code;
    this.details = options.details ?? {};
  }

  get status(): GrpcStatusName {
    return ERRORS[this.code].status;
  }

  get retry(): RetryAdvice {
    return ERRORS[this.code].retry;
  }

  /**
   * Turns anything thrown into a ServingError: a ServingError as it is, an abort into CANCELLED, a timeout abort into
   * DEADLINE_EXCEEDED, ENOSPC and EDQUOT into DISK_FULL, everything else into INTERNAL with its cause kept.
   */
  static from(reason: unknown): ServingError {
    if (reason instanceof ServingError) return reason;
    if (reason instanceof Error) {
      if (reason.name === "AbortError") return new ServingError("CANCELLED", reason.message, { cause: reason });
      if (reason.name === "TimeoutError")
        return new ServingError("DEADLINE_EXCEEDED", reason.message, { cause: reason });
      if (isOutOfRoom(reason)) return new ServingError("DISK_FULL", reason.message, { cause: reason });
      return new ServingError("INTERNAL", reason.message, { cause: reason });
    }
    return new ServingError("INTERNAL", String(reason), { cause: reason });
  }
}

/** Whether a call of the file system failed because the disk is full, or the quota used up. */
export function isOutOfRoom(reason: unknown): boolean {
  const code = (reason as NodeJS.ErrnoException | undefined)?.code;
  return code === "ENOSPC" || code === "EDQUOT";
}

/** True when `reason` is a ServingError with one of `codes`. */
export function isServingError(reason: unknown, ...codes: ErrorCode[]): reason is ServingError {
  return reason instanceof ServingError && (codes.length === 0 || codes.includes(reason.code));
}
