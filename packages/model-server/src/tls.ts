import type { ServerOptions } from "node:https";

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
