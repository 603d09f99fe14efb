import type { Logger, Service } from "@shardserve/core";
import { readWatched, WatchedFile } from "@shardserve/model-server";
import { flag } from "../../flags.js";

/** Flags of everything that answers over gRPC. */
export const GUARD_FLAGS = {
  sslConfigFile: flag.text("TLS of gRPC: an SSLConfig in protobuf's text format", "FILE", ""),
  authTokensFile: flag.text("bearer tokens and what each may do; without it everybody may do everything", "FILE", ""),
};

/** A file that was read, and can be followed from then on. */
export interface FollowedFile<T> {
  readonly value: T;
  /** A service that hands on what the file says whenever that has changed. */
  watch(this: void, onChange: (value: T) => void, logger: Logger): Service;
}

/**
 * Reads a file that a flag names; undefined where the flag is empty.
 *
 * @throws ServingError NOT_FOUND, CONFIG_INVALID
 */
export async function readIfNamed<T>(
  path: string,
  parse: (text: string, path: string) => T,
): Promise<FollowedFile<T> | undefined> {
  if (path === "") return undefined;
  const text = await readWatched(path);
  return {
    value: parse(text, path),
    watch: (onChange, logger) => new WatchedFile({ path, text, parse, onChange, logger }),
  };
}
