import { readFileSync } from "node:fs";
import { ServingError } from "@shardserve/core";

/**
 * The bytes of a file that a flag names, read before anything starts.
 *
 * @throws ServingError CONFIG_INVALID naming the flag when it cannot be read
 */
export function readFlagFile(flagWritten: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new ServingError("CONFIG_INVALID", `${flagWritten}=${path}: ${(cause as Error).message}`, { cause });
  }
}
