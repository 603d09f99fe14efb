import { readFile } from "node:fs/promises";
import type { DescMessage, MessageShape } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { parseTextFormat } from "./text-format.js";

/**
 * Reads a file in protobuf's text format.
 *
 * @throws ServingError NOT_FOUND when it cannot be read, CONFIG_INVALID "PATH:LINE:COLUMN: ..."
 */
export async function readTextFile<D extends DescMessage>(schema: D, path: string): Promise<MessageShape<D>> {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new ServingError("NOT_FOUND", `${path} cannot be read: ${(cause as Error).message}`, { cause });
  });
  return parseTextFormat(schema, text, path);
}
