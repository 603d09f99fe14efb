import { type ErrorCode, invariant, ServingError } from "@shardserve/core";
import type { TfLibrary } from "./tf-library.js";

/** What tensors, sessions and TensorFlow share. */
export interface TfRuntime {
  readonly library: TfLibrary;
  /** TensorFlow objects made and not yet released; a test's leak detector. */
  readonly live: { tensors: number; sessions: number };
}

let current: TfRuntime | undefined;

/** The process's one TensorFlow. @throws InvariantError before loadTensorFlow */
export function tfRuntime(): TfRuntime {
  invariant(current, "loadTensorFlow() comes before the first use of TensorFlow");
  return current;
}

export function setTfRuntime(runtime: TfRuntime): void {
  current = runtime;
}

/** What TensorFlow's codes (absl::StatusCode) mean to a caller; the others are failures of the engine. */
const CODES: Readonly<Record<number, ErrorCode>> = {
  1: "CANCELLED",
  3: "INVALID_ARGUMENT",
  4: "DEADLINE_EXCEEDED",
  5: "NOT_FOUND",
  8: "RESOURCE_EXHAUSTED",
  9: "FAILED_PRECONDITION",
  11: "OUT_OF_RANGE",
  12: "UNIMPLEMENTED",
};

/**
 * Turns a TF_Status into an error and releases it.
 *
 * @throws ServingError in TensorFlow's words, which name the node ("[[{{node NAME}}]]"); `details.tfCode` is the number
 *   of TensorFlow's code
 */
export function endStatus(library: TfLibrary, status: bigint, doing: string): void {
  const { TF_GetCode, TF_Message, TF_DeleteStatus } = library.functions;
  const tfCode = TF_GetCode(status) as number;
  const text = tfCode === 0 ? "" : String(TF_Message(status));
  TF_DeleteStatus(status);
  if (tfCode === 0) return;
  const code = CODES[tfCode];
  if (code !== undefined) throw new ServingError(code, text, { details: { tfCode } });
  throw new ServingError("ENGINE_FAILED", `TensorFlow could not ${doing}: ${text}`, { details: { tfCode } });
}

export function newStatus(library: TfLibrary): bigint {
  return library.functions.TF_NewStatus() as bigint;
}

/** Calls `call` with a status and throws what it then says. */
export function checked<T>(library: TfLibrary, doing: string, call: (status: bigint) => T): T {
  const status = newStatus(library);
  let result: T;
  try {
    result = call(status);
  } catch (error) {
    library.functions.TF_DeleteStatus(status);
    throw error;
  }
  endStatus(library, status, doing);
  return result;
}
