import { invariant, ServingError } from "@shardserve/core";
import koffi from "koffi";
import type { OrtLibrary, Pointer } from "./ort-library.js";

/** ORT's error codes by number (OrtErrorCode). */
const ORT_CODES = [
  "OK",
  "FAIL",
  "INVALID_ARGUMENT",
  "NO_SUCHFILE",
  "NO_MODEL",
  "ENGINE_ERROR",
  "RUNTIME_EXCEPTION",
  "INVALID_PROTOBUF",
  "MODEL_LOADED",
  "NOT_IMPLEMENTED",
  "INVALID_GRAPH",
  "EP_FAIL",
] as const;

/** What values, sessions and Ort share: the library, its allocator and the memory description of plain memory. */
export interface OrtRuntime {
  readonly library: OrtLibrary;
  readonly allocator: bigint;
  readonly cpuMemory: bigint;
  /** ORT objects made and not yet released; a test's leak detector. */
  readonly live: { values: number; sessions: number };
}

let current: OrtRuntime | undefined;

/** The process's one ONNX Runtime. @throws InvariantError before loadOrt */
export function ortRuntime(): OrtRuntime {
  invariant(current, "loadOrt() comes before the first use of ONNX Runtime");
  return current;
}

export function setOrtRuntime(runtime: OrtRuntime): void {
  current = runtime;
}

/**
 * Turns an OrtStatus into an error and releases it.
 *
 * @throws ServingError ENGINE_FAILED with ORT's text; `details.ortCode` is a name of {@link ORT_CODES}
 */
export function checkStatus(library: OrtLibrary, status: unknown, doing: string): void {
  if (status === null) return;
  const { GetErrorCode, GetErrorMessage, ReleaseStatus } = library.functions;
  const pointer = status as Pointer;
  const ortCode = ORT_CODES[GetErrorCode(pointer) as number] ?? "FAIL";
  const text = String(GetErrorMessage(pointer));
  ReleaseStatus(pointer);
  throw new ServingError("ENGINE_FAILED", `ONNX Runtime could not ${doing}: ${text}`, { details: { ortCode } });
}

/** Cell that C functions write one pointer or size_t into; reused, because calls on this thread never nest. */
const cell = new BigUint64Array(1);

/** Calls `call` with a place for one pointer or size_t and returns what was written there. */
export function outPointer(library: OrtLibrary, doing: string, call: (out: BigUint64Array) => unknown): bigint {
  cell[0] = 0n;
  checkStatus(library, call(cell), doing);
  return cell[0];
}

const intCell = new Int32Array(1);

/** As {@link outPointer}, for a C int or enum. */
export function outInt(library: OrtLibrary, doing: string, call: (out: Int32Array) => unknown): number {
  intCell[0] = 0;
  checkStatus(library, call(intCell), doing);
  return intCell[0];
}

/** Copies a C string that ORT allocated and frees it. */
export function takeText(runtime: OrtRuntime, pointer: bigint): string {
  const text = koffi.decode(pointer, "char", -1) as string;
  checkStatus(runtime.library, runtime.library.functions.AllocatorFree(runtime.allocator, pointer), "free a name");
  return text;
}
