import { ServerCredentials } from "@grpc/grpc-js";
import { checkSameVerification, type TlsOptions } from "../tls.js";

/** TLS of a gRPC server whose certificates can be replaced: connections from then on get the new ones. */
export class TlsCredentials extends ServerCredentials {
  readonly #started: TlsOptions;

  constructor(tls: TlsOptions) {
    const first = credentialsOf(tls);
    super(first._getConstructorOptions(), first._getSecureContextOptions() ?? {});
    this.#started = tls;
  }

  /** @throws ServingError CONFIG_INVALID when whether clients must show certificates changed */
  replace(tls: TlsOptions): void {
    checkSameVerification(this.#started, tls);
    this.updateSecureContextOptions(credentialsOf(tls)._getSecureContextOptions());
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
