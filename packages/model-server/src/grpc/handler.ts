import { type DescMessage, fromBinary, type MessageShape } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import type { Answer } from "../predict/predictor.js";
import { decodeFields } from "../predict/wire.js";
import type { RequestScope } from "../scope.js";

/**
 * Answers one call, from bytes to bytes.
 *
 * @param onModel  to be called with the model's name as soon as that is known, and before anything is done for it
 */
export type Handler = (bytes: Buffer, scope: RequestScope, onModel: (name: string) => void) => Promise<Answer> | Answer;

/** @throws ServingError INVALID_ARGUMENT for bytes that are no such message */
export function decodeMessage<D extends DescMessage>(schema: D, bytes: Uint8Array): MessageShape<D> {
  decodeFields(schema.name, bytes, () => false); // too many fields are refused before each becomes an object
  try {
    return fromBinary(schema, bytes);
  } catch (error) {
    throw new ServingError("INVALID_ARGUMENT", `the request is no valid ${schema.name}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
