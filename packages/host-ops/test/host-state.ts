import { readFile } from "node:fs/promises";
import type { HostState } from "@shardserve/graph";

/** An empty state that reads files from disk. */
export function newState(): HostState {
  return { resources: new Map(), variables: new Map(), readFile: (path) => readFile(path) };
}
