export * from "./address/address.js";
export * from "./address/advertised-address.js";
export { Backoff, type BackoffOptions } from "./client/backoff.js";
export * from "./frame/buffer-pool.js";
export { ClientSession } from "./client/client-session.js";
export type { ReplyPayload, RequestOptions } from "./client/pending-requests.js";
export { Exchange } from "./server/exchange.js";
export { checkHeader, FRAME, type FrameRole, HEADER_BYTES, writeHeader } from "./frame/frame.js";
export * from "./frame/frame-decoder.js";
export { JOIN_BYTES_MAX, type ReservedPayload } from "./frame/frame-writer.js";
export * from "./client/framed-client.js";
export * from "./server/framed-server.js";
export { type GrpcListener, listenGrpc } from "./address/grpc-listen.js";
export {
  type Hello,
  OPEN_METHOD,
  type OpenRequest,
  type ProofExpectation,
  readOpenRequest,
  readShardProof,
  type ShardProof,
  verifyProof,
  type Welcome,
} from "./frame/handshake.js";
export * from "./limits.js";
export {
  createLookupRequest,
  type LookupHeader,
  LookupRequest,
  lookupRequestBytes,
  readLookupRequest,
} from "./rows/lookup-request.js";
export type { MutualTls } from "./address/mutual-tls.js";
export { asRecord, decodeMessage, encodeMessage } from "./frame/message.js";
export * from "./rows/plain-rows.js";
export { noDefaults, planRows, type RowsLayout, type TableReply, writeRowsHead } from "./rows/rows-layout.js";
export * from "./rows/rows-reply.js";
export { TRACE_BYTES } from "./rows/trace-bytes.js";
export { claimSocketPath } from "./address/socket-path.js";
export { statusCode, TABLE_STATUS } from "./rows/table-status.js";
export type {
  CallContext,
  CallHandler,
  LookupHandler,
  StreamContext,
  StreamHandler,
} from "./server/server-connection.js";
export { decodeError, encodeError } from "./frame/wire-error.js";
