import { createSecureContext } from "node:tls";
import { SSLConfigSchema } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import type { TlsOptions } from "../tls.js";
import { parseTextFormat } from "./text-format.js";

/**
 * The text of an --ssl_config_file: an SSLConfig in protobuf's text format, with PEM texts (not paths) as values.
 *
 * @param path  of the file, for errors
 * @throws ServingError CONFIG_INVALID, also when key and certificates do not fit
 */
export function parseTlsConfig(text: string, path: string): TlsOptions {
  const {
    serverKey: key,
    serverCert: cert,
    customCa,
    clientVerify: isClientVerified,
  } = parseTextFormat(SSLConfigSchema, text, path);
  const invalid = (message: string, cause?: unknown) =>
    new ServingError("CONFIG_INVALID", `${path}: ${message}`, { cause });
  if (key === "" || cert === "") throw invalid("server_key and server_cert are needed, as PEM text");
  if (isClientVerified && customCa === "") throw invalid("client_verify needs custom_ca, the authority of the clients");
  try {
    createSecureContext({ key, cert, ...(customCa !== "" && { ca: customCa }) });
  } catch (error) {
    throw invalid(`key and certificates cannot be used: ${(error as Error).message}`, error);
  }
  return { key, cert, clientCa: customCa === "" ? undefined : customCa, isClientVerified };
}
