import type { Logger, Service } from "@shardserve/core";
import {
  Access,
  parseTlsConfig,
  parseTokensFile,
  readWatched,
  TlsCredentials,
  WatchedFile,
} from "@shardserve/model-server";
import { flag, type FlagValues } from "../../flags.js";

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

/** Who may call a gRPC server, and the certificate that it shows. */
export interface Guard {
  /** Absent = in clear. */
  readonly tls?: TlsCredentials;
  /** Absent = everybody may do everything. */
  readonly access?: Access;
}

/**
 * Reads the files that the flags name.
 *
 * @returns the guard, and the services that keep it equal to its files, to be started and closed with the server
 * @throws ServingError NOT_FOUND, CONFIG_INVALID
 */
export async function openGuard(
  { sslConfigFile, authTokensFile }: Readonly<FlagValues<typeof GUARD_FLAGS>>,
  logger: Logger,
): Promise<{ readonly guard: Guard; readonly files: readonly Service[] }> {
  const tlsFile = await readIfNamed(sslConfigFile, parseTlsConfig);
  const tokensFile = await readIfNamed(authTokensFile, parseTokensFile);
  if (tokensFile && !tlsFile) logger.warn({}, "tokens are asked for without TLS: whoever can listen can read them");
  const tls = tlsFile && new TlsCredentials(tlsFile.value);
  const access = tokensFile && new Access(tokensFile.value);
  const files = [
    tlsFile?.watch((value) => tls!.replace(value), logger),
    tokensFile?.watch((rules) => access!.replace(rules), logger),
  ];
  return {
    guard: { ...(tls && { tls }), ...(access && { access }) },
    files: files.filter((file) => file !== undefined),
  };
}
