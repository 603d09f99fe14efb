import { ServerCredentials } from "@grpc/grpc-js";
import type { TlsOptions } from "../tls.js";

/** TLS of a gRPC server whose certificates can be replaced: connections from then on get the new ones. */
export class TlsCredentials extends ServerCredentials {
  readonly #requiresClient: boolean;

  constructor(tls: TlsOptions) {
    const first = credentialsOf(tls);
    super(first._getConstructorOptions(), first._getSecureContextOptions() ?? {});
    this.#requiresClient = tls.isClientVerified;
  }

  /** Whether clients must show certificates is fixed when the server starts. */
  replace(tls: TlsOptions): void {
    this.updateSecureContextOptions(
      credentialsOf({ ...tls, isClientVerified: this.#requiresClient })._getSecureContextOptions(),
    );
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

function credentialsOf(tls: TlsOptions): ServerCredentials {
  return ServerCredentials.createSsl(
    tls.clientCa === undefined ? null : Buffer.from(tls.clientCa),
    [{ private_key: Buffer.from(tls.key), cert_chain: Buffer.from(tls.cert) }],
    tls.isClientVerified,
  );
}
