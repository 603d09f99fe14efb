import { type Clock, ServingError } from "@shardserve/core";
import { handleWhen, noop, retry } from "cockatiel";
import {
  Etcd3,
  EtcdAuthenticationFailedError,
  EtcdInvalidAuthTokenError,
  EtcdLeaseInvalidError,
  EtcdPermissionDeniedError,
  GRPCUnauthenticatedError,
  type IOptions,
  isRecoverableError,
} from "etcd3";

/** How etcd is reached. */
export interface EtcdConnection {
  /** `host:port`, at least one; calls go to any of them. */
  readonly hosts: readonly string[];
  /** PEM bytes; presence turns TLS on. */
  readonly tls?: { readonly ca: Uint8Array; readonly cert?: Uint8Array; readonly key?: Uint8Array };
  readonly auth?: { readonly username: string; readonly password: string };
  /** Longest a call may take, in milliseconds; default 3000. */
  readonly callTimeoutMs?: number;
}

/**
 * etcd3 configured to fail fast. Its own fault handling would answer for five seconds after three failures from a
 * circuit breaker, etcd back or not, and its channels would wait up to two minutes before they connect again.
 */
export function openEtcd(connection: EtcdConnection, clock: Clock): Etcd3 {
  const { hosts, tls, auth, callTimeoutMs = 3_000 } = connection;
  if (hosts.length === 0)
    throw new ServingError("CONFIG_INVALID", "etcd: no hosts; give --etcd HOST:PORT[,HOST:PORT...]");
  const options: IOptions = {
    hosts: hosts.map((host) => `${tls ? "https" : "http"}://${host.replace(/^https?:\/\//, "")}`),
    defaultCallOptions: ({ isStream }) => (isStream ? {} : { deadline: clock.wallMs() + callTimeoutMs }),
    grpcOptions: {
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.min_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 1_000,
      "grpc.keepalive_time_ms": 10_000, // etcd allows one each 5 s; finds streams whose peer vanished
      "grpc.keepalive_timeout_ms": 5_000,
      "grpc.max_receive_message_length": 64 << 20,
    },
    faultHandling: {
      host: () => noop,
      global: hosts.length > 1 ? retry(handleWhen(isRecoverableError), { maxAttempts: hosts.length - 1 }) : noop,
    },
    ...(tls && {
      credentials: {
        rootCertificate: Buffer.from(tls.ca),
        ...(tls.cert && { certChain: Buffer.from(tls.cert) }),
        ...(tls.key && { privateKey: Buffer.from(tls.key) }),
      },
    }),
    ...(auth && { auth }),
  };
  return new Etcd3(options);
}

/**
 * etcd3's errors and gRPC's as ours; an abort stays what it is.
 *
 * @param trouble  asked for what keeps etcd away, where that is what the error says
 */
export async function castEtcdError(
  error: unknown,
  what: string,
  trouble: () => Promise<string | undefined>,
): Promise<unknown> {
  if (error instanceof ServingError) return error;
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof EtcdLeaseInvalidError || /requested lease not found/.test(text)) {
    return new ServingError("LEASE_LOST", `${what}: the lease ended; take a new one`, { cause: error });
  }
  const isDenied = [
    EtcdPermissionDeniedError,
    EtcdAuthenticationFailedError,
    EtcdInvalidAuthTokenError,
    GRPCUnauthenticatedError,
  ].some((type) => error instanceof type);
  // "user name is empty": auth is on and we gave none; etcd answers INVALID_ARGUMENT.
  if (isDenied || /user name is empty/.test(text)) {
    return new ServingError("REGISTRY_DENIED", `${what}: etcd refuses: ${text}; check user, password and role`, {
      cause: error,
    });
  }
  if (/database space exceeded/.test(text)) {
    const cure = 'compact and defragment it, then `etcdctl alarm disarm` (operations.md, "etcd outage")';
    return new ServingError("REGISTRY_UNAVAILABLE", `${what}: etcd takes no writes, its database is full: ${cure}`, {
      cause: error,
    });
  }
  const short = text // what grpc-js says around the error of the socket; null = it has not tried yet
    .replace(/^14 UNAVAILABLE: No connection established\. Last error: (?:Error: |null\. )?/, "")
    .replace(/\.? ?Resolution note: $/, "");
  const why = (await trouble()) ?? (short || "not connected yet");
  return new ServingError("REGISTRY_UNAVAILABLE", `${what}: etcd cannot be reached: ${why}`, { cause: error });
}
