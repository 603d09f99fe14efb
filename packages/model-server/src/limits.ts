/** Bounds of the server; each has a default that suits a process with a few GiB. */
export interface ServerLimits {
  /** Requests under way at once over both transports, default 10 000; beyond: RESOURCE_EXHAUSTED. */
  readonly requestsInFlightMax: number;
  /** Bytes of one REST body as sent, default 128 MiB; beyond: 413. gRPC messages have protobuf's own limit, 2 GiB. */
  readonly bodyBytesMax: number;
  /** Bytes of one gzip or deflate body after inflating, default 100 MiB, as in TensorFlow Serving. */
  readonly inflatedBytesMax: number;
  /** Bytes of all REST bodies under way, as sent and inflated, default 1 GiB; beyond: UNAVAILABLE. */
  readonly bodyBytesInFlightMax: number;
  /**
   * Bytes of all gRPC messages under way, default 1 GiB, and again of those that are still on their way in, of compressed ones as inflated until
   * their requests have ended (inflating one takes up to twice its bytes), and of what requests of both transports take beyond
   * their own bytes: tensors that came without all their values, a context before each example, values and brackets of JSON. Counted
   * until no run reads them; beyond: RESOURCE_EXHAUSTED. One message alone may have any size, unless it is compressed.
   */
  readonly messageBytesInFlightMax: number;
  /** Open gRPC connections, default 10 000; further ones are dropped. */
  readonly grpcConnectionsMax: number;
  /** Open streams of all gRPC connections, default 12 000: requests and watchers; further ones are refused, which clients try again. */
  readonly grpcStreamsMax: number;
  /** Open REST connections, default 10 000; further ones are dropped. */
  readonly restConnectionsMax: number;
  /** Time for a REST request to finish, default 30 000 (--rest_api_timeout_in_ms); 0 = no limit. */
  readonly restTimeoutMs: number;
  /** Time for a client to send its whole request, default 60 000; over gRPC a second more for each 64 KiB that came. */
  readonly receiveTimeoutMs: number;
  /** Time that an idle REST connection is kept, default 60 000. */
  readonly keepAliveMs: number;
}

/** Limits of a server whose operator sets none. */
export const DEFAULT_LIMITS: ServerLimits = {
  requestsInFlightMax: 10_000,
  bodyBytesMax: 128 * 2 ** 20,
  inflatedBytesMax: 100 * 2 ** 20,
  bodyBytesInFlightMax: 2 ** 30,
  messageBytesInFlightMax: 2 ** 30,
  grpcConnectionsMax: 10_000,
  grpcStreamsMax: 12_000,
  restConnectionsMax: 10_000,
  restTimeoutMs: 30_000,
  receiveTimeoutMs: 60_000,
  keepAliveMs: 60_000,
};
