import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { ApplyRowsReplySchema, ApplyRowsRequestSchema, create, fromBinary, toBinary } from "@shardserve/api";

export interface UpdateAck {
  readonly version: number;
  readonly sequence: number;
  readonly epoch: number;
}

/** One stream of ApplyRows, as a trainer would have it. */
export class ApplyClient implements Disposable {
  /** What was acknowledged last; undefined = not even the opening. */
  ack: UpdateAck | undefined;
  /** Why the stream ended; undefined = it goes on, or it ended well. */
  error: ServiceError | undefined;
  isEnded = false;
  readonly #client: Client;
  readonly #call: ClientDuplexStream<Buffer, Buffer>;

  constructor(
    address: string,
    model: string,
    source: string,
    {
      token,
      channel = credentials.createInsecure(),
    }: { readonly token?: string; readonly channel?: ChannelCredentials } = {},
  ) {
    this.#client = new Client(address, channel, { "grpc.use_local_subchannel_pool": 1 });
    const metadata = new Metadata();
    if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
    const identity = (bytes: Buffer) => bytes;
    this.#call = this.#client.makeBidiStreamRequest(
      "/shardserve.v1.UpdateService/ApplyRows",
      identity,
      identity,
      metadata,
    );
    this.#call.on("data", (bytes: Buffer) => {
      const { version, sequence, epoch } = fromBinary(ApplyRowsReplySchema, bytes);
      this.ack = { version: Number(version), sequence: Number(sequence), epoch: Number(epoch) };
    });
    this.#call.on("error", (error: ServiceError) => {
      this.error = error;
      this.isEnded = true;
    });
    this.#call.on("end", () => {
      this.isEnded = true;
    });
    const open = create(ApplyRowsRequestSchema, { kind: { case: "open", value: { model, source } } });
    this.#call.write(Buffer.from(toBinary(ApplyRowsRequestSchema, open)));
  }

  send(sequence: number, table: string, ids: readonly number[], rows: Float32Array): void {
    const idBytes = new Uint8Array(BigInt64Array.from(ids, BigInt).buffer);
    const rowBytes = new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength);
    const value = { sequence: BigInt(sequence), tables: [{ table, ids: idBytes, rows: rowBytes }] };
    const message = create(ApplyRowsRequestSchema, { kind: { case: "batch", value } });
    this.#call.write(Buffer.from(toBinary(ApplyRowsRequestSchema, message)));
  }

  /** No more batches; the server ends the stream when all are acknowledged. */
  end(): void {
    this.#call.end();
  }

  [Symbol.dispose](): void {
    this.#call.on("error", () => undefined);
    this.#call.cancel();
    this.#client.close();
  }
}
