import { type ErrorCode, ERRORS, ServingError } from "@shardserve/core";
import { asRecord, decodeMessage, encodeMessage } from "./message.js";

/** Payload of an ERROR frame. Causes stay at home. */
export function encodeError(error: ServingError): Uint8Array {
  return encodeMessage({ code: error.code, message: error.message, details: error.details });
}

/**
 * Rebuilds the error of an ERROR frame; a code that this build does not know becomes INTERNAL and is named in the message.
 *
 * @throws ServingError FRAME_INVALID
 */
export function decodeError(payload: Uint8Array): ServingError {
  const { code, message, details } = asRecord(decodeMessage(payload, "an error frame"), "an error frame");
  const text = typeof message === "string" ? message : "the peer gave no message";
  const kept = typeof details === "object" && details !== null ? { details: { ...details } } : {};
  if (typeof code === "string" && Object.hasOwn(ERRORS, code)) return new ServingError(code as ErrorCode, text, kept);
  return new ServingError("INTERNAL", `peer's error ${String(code)}: ${text}`, kept);
}
