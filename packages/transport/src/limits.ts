/** Bounds of one endpoint. Each is checked before memory is taken or work is begun. */
export interface TransportLimits {
  /** Largest payload of a control frame (HELLO, CALL, REPLY, PUSH, ERROR ...), in bytes. */
  readonly controlBytesMax: number;
  /** Largest payload of a LOOKUP request, in bytes: 16 MiB is 2 million ids. */
  readonly requestBytesMax: number;
  /** Largest payload of a ROWS reply, in bytes. A caller whose rows need more sends several requests. */
  readonly replyBytesMax: number;
  /** Requests in flight on one connection; one more is refused with RESOURCE_EXHAUSTED at once. */
  readonly inFlightMax: number;
  /** Connections that a server holds; one more is closed at once. */
  readonly connectionsMax: number;
  /** Unsent bytes on a connection above which the server stops reading from it until the peer has read. */
  readonly writeBytesHigh: number;
  /** A connection with unsent bytes and no progress for this long is closed, in milliseconds. */
  readonly stallTimeoutMs: number;
  /**
   * How long the network may take to make a connection, in milliseconds; a host whose processes all stand still takes it
   * at once. Kernels try again after 1, 3, 7 s: an attempt that is made anew notices sooner that a network has healed.
   */
  readonly connectTimeoutMs: number;
  /** How long a connection may take to complete its handshake, in milliseconds. */
  readonly handshakeTimeoutMs: number;
  /** How often an idle client asks whether the server lives, in milliseconds; two silent intervals end the connection. */
  readonly pingIntervalMs: number;
  /** Silence of a server that owes an answer after which it is asked whether it lives, in milliseconds. */
  readonly doubtMs: number;
  /** How long it may take to say so, in milliseconds, before a second connection is made beside the first. */
  readonly doubtReplyMs: number;
  /** Items of a push stream that wait for their consumer; one more ends the stream with RESOURCE_EXHAUSTED. */
  readonly streamItemsMax: number;
}

/** Limits of both ends where none are set. */
export const DEFAULT_LIMITS: TransportLimits = {
  controlBytesMax: 8 * 2 ** 20,
  requestBytesMax: 16 * 2 ** 20,
  replyBytesMax: 64 * 2 ** 20,
  inFlightMax: 1024,
  connectionsMax: 1024,
  writeBytesHigh: 8 * 2 ** 20,
  stallTimeoutMs: 30_000,
  connectTimeoutMs: 2_000,
  handshakeTimeoutMs: 10_000,
  pingIntervalMs: 5_000,
  doubtMs: 1_000,
  doubtReplyMs: 1_500,
  streamItemsMax: 65_536,
};
