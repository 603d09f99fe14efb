import { Server, ServerCredentials, type ServerDuplexStream, type ServiceDefinition } from "@grpc/grpc-js";
import {
  type ApplyRowsReply,
  ApplyRowsReplySchema,
  type ApplyRowsRequest,
  ApplyRowsRequestSchema,
  create,
  fromBinary,
  toBinary,
} from "@shardserve/api";
import { GRPC_STATUS, Service, ServingError } from "@shardserve/core";
import { type Access, type Caller, EVERYBODY, type TlsCredentials } from "@shardserve/model-server";
import { SOURCE_LENGTH_MAX } from "@shardserve/rowstore";
import { formatAddress, listenGrpc, parseAddress } from "@shardserve/transport";
import { UpdateWriter, type UpdateWriterOptions } from "./update-writer.js";

/** Largest message of a stream. */
const UPDATE_MESSAGE_BYTES_MAX = 8 * 2 ** 20;
/** Streams at once, over all models; each may have one message waiting. */
const STREAMS_MAX = 64;

type Call = ServerDuplexStream<ApplyRowsRequest, ApplyRowsReply>;

const UPDATE_SERVICE: ServiceDefinition = {
  applyRows: {
    path: "/shardserve.v1.UpdateService/ApplyRows",
    requestStream: true,
    responseStream: true,
    requestSerialize: (value: ApplyRowsRequest) => Buffer.from(toBinary(ApplyRowsRequestSchema, value)),
    requestDeserialize: (bytes: Buffer) => fromBinary(ApplyRowsRequestSchema, bytes),
    responseSerialize: (value: ApplyRowsReply) => Buffer.from(toBinary(ApplyRowsReplySchema, value)),
    responseDeserialize: (bytes: Buffer) => fromBinary(ApplyRowsReplySchema, bytes),
  },
};

/** Who may send to the service; absent = everybody may, in clear. */
export interface UpdateGuard {
  readonly tls?: TlsCredentials;
  /** Tokens need the action `update` for the model. */
  readonly access?: Access;
}

/** Serves shardserve.v1.UpdateService: one writer per version that is sent to, one stream per source. */
export class UpdateService extends Service {
  readonly #listen: string;
  readonly #options: UpdateWriterOptions;
  readonly #guard: UpdateGuard;
  readonly #server = new Server({ "grpc.max_receive_message_length": UPDATE_MESSAGE_BYTES_MAX });
  readonly #writers = new Map<string, Promise<UpdateWriter>>();
  readonly #streams = new Set<UpdateStream>();
  #address = "";

  /** @param listen  host:port; port 0 = any */
  constructor(listen: string, options: UpdateWriterOptions, guard: UpdateGuard = {}) {
    super();
    this.#guard = guard;
    this.#listen = listen;
    this.#options = options;
    this.#server.addService(UPDATE_SERVICE, { applyRows: (call: Call) => this.#take(call) });
  }

  get address(): string {
    return this.#address;
  }

  protected override async onStart(): Promise<void> {
    const credentials = this.#guard.tls ?? ServerCredentials.createInsecure();
    this.#address = formatAddress(await listenGrpc(this.#server, parseAddress(this.#listen), credentials));
  }

  protected override async onDrain(): Promise<void> {
    for (const writer of this.#writers.values()) (await writer.catch(() => undefined))?.close(); // a writer that failed has no streams
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(1000, resolve);
      this.#server.tryShutdown(() => {
        cancel();
        resolve();
      });
    });
  }

  protected override async onClose(): Promise<void> {
    this.#server.forceShutdown();
  }

  #take(call: Call): void {
    const { access } = this.#guard;
    const callerOf = () => (access ? access.callerOf(call.metadata.get("authorization")[0]?.toString()) : EVERYBODY);
    const stream = new UpdateStream(call, callerOf, (model, version) => this.#writer(model, version), this.#streams);
    if (this.#streams.size >= STREAMS_MAX)
      return stream.fail(new ServingError("RESOURCE_EXHAUSTED", `${STREAMS_MAX} streams are open; end one first`));
    stream.start();
  }

  /** The writer of a version; a new one after the last one failed. */
  async #writer(model: string, wanted: number): Promise<UpdateWriter> {
    this.assertReady();
    const version = wanted === 0 ? this.#options.follower.versions(model).at(-1) : wanted;
    if (version === undefined) throw new ServingError("NOT_FOUND", `no version of ${model} is in force`);
    const key = `${model}/${version}`;
    const before = this.#writers.get(key)?.catch(() => undefined) ?? Promise.resolve(undefined); // its caller got the error
    const writer = before.then((known) =>
      known && !known.failure ? known : UpdateWriter.open(model, version, this.#options),
    );
    this.#writers.set(key, writer);
    try {
      return await writer;
    } catch (error) {
      if (this.#writers.get(key) === writer) this.#writers.delete(key);
      throw error;
    }
  }
}

/** One call of ApplyRows. It reads the next message when the one before was taken: what does not fit waits at the sender. */
class UpdateStream {
  readonly #call: Call;
  readonly #callerOf: () => Caller;
  readonly #find: (model: string, version: number) => Promise<UpdateWriter>;
  readonly #all: Set<UpdateStream>;
  #writer: UpdateWriter | undefined;
  #source = "";
  #told = -1;
  #isEnded = false;
  #isHalfClosed = false;
  #unsubscribe: () => void = () => undefined;

  constructor(
    call: Call,
    callerOf: () => Caller,
    find: (model: string, version: number) => Promise<UpdateWriter>,
    all: Set<UpdateStream>,
  ) {
    this.#call = call;
    this.#callerOf = callerOf;
    this.#find = find;
    this.#all = all;
  }

  start(): void {
    this.#all.add(this);
    this.#call.on("data", (message: ApplyRowsRequest) => {
      this.#call.pause();
      this.#handle(message).then(
        () => this.#call.resume(),
        (error: unknown) => this.fail(ServingError.from(error)),
      );
    });
    this.#call.on("end", () => {
      this.#isHalfClosed = true;
      this.#tell();
    });
    this.#call.on("cancelled", () => this.#leave());
    this.#call.on("error", () => this.#leave());
  }

  fail(error: ServingError): void {
    if (this.#isEnded) return;
    this.#leave();
    this.#call.emit("error", { code: GRPC_STATUS[error.status], details: error.message });
  }

  async #handle({ kind }: ApplyRowsRequest): Promise<void> {
    if (this.#isEnded) return;
    if (kind.case === "open") return this.#open(kind.value.model, Number(kind.value.version), kind.value.source);
    if (kind.case !== "batch") throw new ServingError("INVALID_ARGUMENT", "a message is neither `open` nor `batch`");
    const { sequence, tables } = kind.value;
    if (!this.#writer) throw new ServingError("INVALID_ARGUMENT", "the first message of a stream is `open`");
    if (sequence < 1n || sequence > BigInt(Number.MAX_SAFE_INTEGER))
      throw new ServingError("INVALID_ARGUMENT", `sequence ${sequence} is not in [1, 2^53)`);
    this.#callerOf().check("update", this.#writer.model); // a stream may outlive its token
    await this.#writer.accept(this.#source, Number(sequence), tables);
  }

  async #open(model: string, version: number, source: string): Promise<void> {
    if (this.#writer) throw new ServingError("INVALID_ARGUMENT", "the stream is open already");
    if (source === "" || Buffer.byteLength(source) > SOURCE_LENGTH_MAX || /\n/.test(source))
      throw new ServingError("INVALID_ARGUMENT", `source: give a name of 1 to ${SOURCE_LENGTH_MAX} bytes in one line`);
    this.#callerOf().check("update", model);
    const writer = await this.#find(model, version);
    if (this.#isEnded) return;
    for (const other of this.#all) {
      if (other.#writer === writer && other.#source === source)
        other.fail(new ServingError("FAILED_PRECONDITION", `another stream of ${source} was opened`));
    }
    this.#writer = writer;
    this.#source = source;
    this.#unsubscribe = writer.subscribe(() => this.#tell());
    this.#tell();
  }

  /** Acknowledges what came into force since, and ends where nothing more can come. */
  #tell(): void {
    const writer = this.#writer;
    if (this.#isEnded) return;
    if (writer) {
      const { sequence, epoch } = writer.standing(this.#source);
      if (sequence > this.#told) {
        this.#told = sequence;
        this.#call.write(
          create(ApplyRowsReplySchema, {
            version: BigInt(writer.version),
            sequence: BigInt(sequence),
            epoch: BigInt(epoch),
          }),
        );
      }
    }
    if (this.#isHalfClosed && (!writer || writer.isIdle(this.#source))) {
      this.#leave();
      this.#call.end();
    } else if (writer?.failure) {
      this.fail(writer.failure);
    }
  }

  #leave(): void {
    this.#isEnded = true;
    this.#all.delete(this);
    this.#unsubscribe();
  }
}
