import type { ServerOptions } from "node:https";
import { ServingError } from "@shardserve/core";

/** Certificates of a listening side, as PEM text. */
export interface TlsOptions {
  readonly key: string;
  /** The server's certificate, followed by those between it and the authority. */
  readonly cert: string;
  /** Authorities that client certificates must come from. */
  readonly clientCa: string | undefined;
  /** True: who shows no certificate of `clientCa` is refused. */
  readonly isClientVerified: boolean;
}

export function httpsOptions({ key, cert, clientCa, isClientVerified }: TlsOptions): ServerOptions {
  return {
    key,
    cert,
    requestCert: isClientVerified,
    rejectUnauthorized: isClientVerified,
    ...(clientCa && { ca: clientCa }),
  };
}

/**
 * Whether clients must show certificates is fixed when a server starts: one that asks goes on asking, and without `clientCa` would believe all
 * authorities that Node knows.
 *
 * @throws ServingError CONFIG_INVALID when `next` says otherwise than `started`
 */
export function checkSameVerification(started: TlsOptions, next: TlsOptions): void {
  if (next.isClientVerified === started.isClientVerified) return;
  throw new ServingError(
    "CONFIG_INVALID",
    `client_verify became ${String(next.isClientVerified)}: that takes a restart of the process`,
  );
}
