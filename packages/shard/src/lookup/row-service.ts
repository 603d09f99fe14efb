import {
  create,
  fromBinary,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus,
  HealthCheckResponseSchema,
  type LookupReply,
  LookupReplySchema,
  type LookupRequest,
  LookupRequestSchema,
  type TableRows,
  TableRowsSchema,
  toBinary,
} from "@shardserve/api";
import { type Clock, GRPC_STATUS, ServingError } from "@shardserve/core";
import { rowDecoder, StoredRows, type TableInfo, tablesByName } from "@shardserve/rowstore";
import { DTYPES } from "@shardserve/tensor";
import { statusCode, TABLE_STATUS } from "@shardserve/transport";
import { type handleUnaryCall, Server, type ServerUnaryCall, type ServiceDefinition } from "@grpc/grpc-js";
import type { ShardMetrics } from "../metrics.js";
import type { GatheredRows, RowLookup } from "./row-lookup.js";
import { type ServedVersion, type ServedVersions, servableName } from "../versions/served-version.js";

export interface RowServiceOptions {
  readonly versions: ServedVersions;
  readonly lookup: RowLookup;
  readonly metrics: ShardMetrics;
  readonly clock: Clock;
  /** Largest request and reply, in bytes. */
  readonly messageBytesMax: number;
  readonly isHealthy: () => boolean;
}

/** gRPC server with shardserve.v1.RowService and grpc.health.v1.Health: the same rows, for programs in other languages. */
export function createRowServer(options: RowServiceOptions): Server {
  const server = new Server({
    "grpc.max_receive_message_length": options.messageBytesMax,
    "grpc.max_send_message_length": options.messageBytesMax,
  });
  server.addService(ROW_SERVICE, { lookup: lookupHandler(options) });
  const check: handleUnaryCall<unknown, unknown> = (_call, callback) => {
    const { SERVING, NOT_SERVING } = HealthCheckResponse_ServingStatus;
    callback(null, create(HealthCheckResponseSchema, { status: options.isHealthy() ? SERVING : NOT_SERVING }));
  };
  server.addService(HEALTH_SERVICE, { check });
  return server;
}

const ROW_SERVICE: ServiceDefinition = {
  lookup: {
    path: "/shardserve.v1.RowService/Lookup",
    requestStream: false,
    responseStream: false,
    requestSerialize: (value: LookupRequest) => Buffer.from(toBinary(LookupRequestSchema, value)),
    requestDeserialize: (bytes: Buffer) => fromBinary(LookupRequestSchema, bytes),
    responseSerialize: (value: LookupReply) => Buffer.from(toBinary(LookupReplySchema, value)),
    responseDeserialize: (bytes: Buffer) => fromBinary(LookupReplySchema, bytes),
  },
};

const HEALTH_SERVICE: ServiceDefinition = {
  check: {
    path: "/grpc.health.v1.Health/Check",
    requestStream: false,
    responseStream: false,
    requestSerialize: (value) => Buffer.from(toBinary(HealthCheckRequestSchema, value)),
    requestDeserialize: (bytes: Buffer) => fromBinary(HealthCheckRequestSchema, bytes),
    responseSerialize: (value) => Buffer.from(toBinary(HealthCheckResponseSchema, value)),
    responseDeserialize: (bytes: Buffer) => fromBinary(HealthCheckResponseSchema, bytes),
  },
};

function lookupHandler(options: RowServiceOptions): handleUnaryCall<LookupRequest, LookupReply> {
  const { metrics } = options;
  const handle = async (...[call, callback]: Parameters<handleUnaryCall<LookupRequest, LookupReply>>) => {
    try {
      const reply = await answer(call, options);
      metrics.requests.inc({ protocol: "grpc", code: "OK" });
      callback(null, reply);
    } catch (reason) {
      const error = ServingError.from(reason);
      metrics.requests.inc({ protocol: "grpc", code: error.code });
      callback({ code: GRPC_STATUS[error.status], details: error.message });
    }
  };
  return (call, callback) => void handle(call, callback);
}

async function answer(
  call: ServerUnaryCall<LookupRequest, LookupReply>,
  { versions, lookup, clock }: RowServiceOptions,
): Promise<LookupReply> {
  const { request } = call;
  const served = findVersion(versions, request);
  const { set } = served;
  const columns = new Uint32Array(request.tables.length * 2);
  let idCount = 0;
  request.tables.forEach(({ table, ids }, i) => {
    if (ids.length % 8 !== 0)
      throw new ServingError("INVALID_ARGUMENT", `ids of ${table}: ${ids.length} bytes are no int64s`);
    columns[i * 2] = tablesByName(set.tables).get(table) ?? UNKNOWN_TABLE;
    columns[i * 2 + 1] = ids.length / 8;
    idCount += ids.length / 8;
  });
  const ids = new BigInt64Array(idCount);
  const idBytes = new Uint8Array(ids.buffer);
  let at = 0;
  for (const { ids: bytes } of request.tables) {
    idBytes.set(bytes, at);
    at += bytes.length;
  }
  const nowMs = clock.nowMs();
  const askedMs = request.deadlineMs === 0 ? Number.POSITIVE_INFINITY : nowMs + request.deadlineMs;
  const deadlineMs = Math.min(askedMs, nowMs + Number(call.getDeadline()) - clock.wallMs()); // gRPC's is wall time
  const { generation, epoch } = served;
  if (!served.epochs.has(epoch)) throw served.epochs.refusal(epoch);
  const gathered = await lookup.run({ served, epoch, generation, columns, ids, deadlineMs });
  try {
    if (call.cancelled) throw new ServingError("CANCELLED", "the caller gave up");
    return toReply(request, served, epoch, gathered, ids, columns);
  } finally {
    gathered.release();
  }
}

/** No table has this index, so that its status says so. */
const UNKNOWN_TABLE = 0xffff_ffff;

function findVersion(versions: ServedVersions, { model, version }: LookupRequest): ServedVersion {
  const number = Number(version);
  const served = number === 0 ? versions.newest(model) : versions.byName(model, number);
  if (served) return served;
  const wanted = number === 0 ? `an enabled version of ${model}` : servableName(model, number);
  throw new ServingError("NOT_FOUND", `this shard holds no partition of ${wanted}`);
}

function toReply(
  request: LookupRequest,
  served: ServedVersion,
  epoch: number,
  { payload, layout, tables }: GatheredRows,
  ids: BigInt64Array,
  columns: Uint32Array,
): LookupReply {
  let at = 0;
  const rows = tables.map((reply, i): TableRows => {
    const count = columns[i * 2 + 1]!;
    const column = ids.subarray(at, at + count);
    at += count;
    const name = request.tables[i]?.table ?? "";
    if (reply.status !== TABLE_STATUS.OK) return failedRows(served, epoch, name, reply.table, reply.status, column);
    const info = served.set.tables[reply.table]!;
    const offset = layout.rowOffsets[i]!;
    const stored = payload.subarray(offset, offset + reply.rowCount * reply.rowBytes);
    return okRows(info, stored, reply.rowCount);
  });
  return create(LookupReplySchema, {
    tables: rows,
    version: BigInt(served.version),
    epoch: BigInt(epoch),
    generation: BigInt(served.generation),
  });
}

/** Half-precision rows travel as they are; int8 rows are decoded: their scale and offset are nobody else's business. */
function okRows(info: TableInfo, stored: Uint8Array, rowCount: number): TableRows {
  const { dim } = info;
  if (info.rowDtype !== "int8") {
    const dtype = DTYPES[info.rowDtype === "float16" ? "float16" : info.dtype].tf;
    return create(TableRowsSchema, { dtype, dim, rows: new Uint8Array(stored) });
  }
  const rows = new Uint8Array(rowCount * dim * 4);
  const inOrder = Int32Array.from({ length: rowCount }, (_, i) => i);
  rowDecoder(info)(new StoredRows(stored), 0, rowCount, rows, inOrder, 0);
  return create(TableRowsSchema, { dtype: DTYPES.float32.tf, dim, rows });
}

function failedRows(
  served: ServedVersion,
  epoch: number,
  name: string,
  table: number,
  status: number,
  ids: BigInt64Array,
): TableRows {
  const code = statusCode(status);
  const servable = servableName(served.model, served.version);
  const error =
    code === "TABLE_NOT_FOUND"
      ? new ServingError(code, `${servable} has no table ${name}`)
      : served.set.refusal(
          table,
          ids,
          served.set.locate(table, ids, new BigInt64Array(ids.length), 0, 0, ids.length, epoch),
          epoch,
        );
  return create(TableRowsSchema, { status: GRPC_STATUS[error.status], message: error.message });
}
