import type { Socket } from "node:net";
import {
  type ConnectionOptions,
  createServer,
  type SecureContextOptions,
  type Server,
  type TlsOptions,
} from "node:tls";
import type { Logger } from "@shardserve/core";

/** Certificates of one end of connections between processes of a cluster, as PEM text: each end shows one of `ca`. */
export interface MutualTls {
  readonly key: string;
  readonly cert: string;
  /** The authority that the other end's certificate must come from. */
  readonly ca: string;
}

export function secureContextOf({ key, cert, ca }: MutualTls): SecureContextOptions {
  return { key, cert, ca, minVersion: "TLSv1.2" };
}

/**
 * How to connect. The authority says who belongs to the cluster; names are not compared, as processes are reached by addresses
 * that change.
 */
export function tlsConnectOptions(tls: MutualTls): ConnectionOptions {
  return { ...secureContextOf(tls), checkServerIdentity: () => undefined };
}

/** A server that hands out connections whose other end has proved itself. */
export function createTlsServer(
  tls: MutualTls,
  options: TlsOptions,
  onConnection: (socket: Socket) => void,
  logger: Logger,
): Server {
  const server = createServer(
    { ...options, ...secureContextOf(tls), requestCert: true, rejectUnauthorized: true },
    onConnection,
  );
  server.on("tlsClientError", (error, socket) => {
    logger.info(
      { from: socket.remoteAddress, error: error.message },
      "a connection without a valid certificate was refused",
    );
  });
  return server;
}
