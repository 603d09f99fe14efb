import type { Logger, Service } from "@shardserve/core";
import {
  Access,
  type ModelServer,
  type ModelServerOptions,
  parseTlsConfig,
  parseTokensFile,
} from "@shardserve/model-server";
import type { FlagValues } from "../../flags.js";
import { readIfNamed } from "../flags/guard-flags.js";
import type { SERVING_FLAGS } from "../flags/serving-flags.js";

type PortGuardFlags = Pick<
  Readonly<FlagValues<typeof SERVING_FLAGS>>,
  "sslConfigFile" | "restApiSslConfigFile" | "authTokensFile" | "restApiPort"
>;

/** Who may call a model server's ports, and the certificates that they show. */
export interface PortGuards {
  readonly settings: Pick<ModelServerOptions, "grpcTls" | "restTls" | "access">;
  /** Services that give the server what their files say whenever that has changed. */
  readonly follow: (server: ModelServer) => readonly Service[];
}

/**
 * Reads the files that the flags name.
 *
 * @throws ServingError NOT_FOUND, CONFIG_INVALID
 */
export async function openPortGuards(flags: PortGuardFlags, logger: Logger): Promise<PortGuards> {
  const grpcTls = await readIfNamed(flags.sslConfigFile, parseTlsConfig);
  const restTls = await readIfNamed(flags.restApiSslConfigFile, parseTlsConfig);
  const tokens = await readIfNamed(flags.authTokensFile, parseTokensFile);
  const access = tokens && new Access(tokens.value);
  if (access && !(grpcTls && (restTls || flags.restApiPort < 0))) {
    logger.warn({}, "tokens are asked for, but not every port has TLS: whoever can listen can read them");
  }
  return {
    settings: {
      ...(grpcTls && { grpcTls: grpcTls.value }),
      ...(restTls && { restTls: restTls.value }),
      ...(access && { access }),
    },
    follow: (server) =>
      [
        grpcTls?.watch((tls) => server.replaceGrpcTls(tls), logger),
        restTls?.watch((tls) => server.replaceRestTls(tls), logger),
        tokens?.watch((rules) => access!.replace(rules), logger),
      ].filter((file) => file !== undefined),
  };
}
