import { type ChannelCredentials, Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  anyUnpack,
  create,
  type DescMessage,
  fromBinary,
  GetModelMetadataRequestSchema,
  GetModelMetadataResponseSchema,
  type MessageInitShape,
  type MessageShape,
  PredictRequestSchema,
  PredictResponseSchema,
  type SignatureDef,
  SignatureDefMapSchema,
  toBinary,
} from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { decodeTensorProto, encodeTensorProto, type Tensor } from "@shardserve/tensor";
import { type Address, formatAddress } from "@shardserve/transport";

const SERVICE = "/tensorflow.serving.PredictionService";

export interface Prediction {
  readonly outputs: ReadonlyMap<string, Tensor>;
  readonly version: number;
  /** JSON: how the answer came about, where that was asked for and the server is ours. */
  readonly explanation: string | undefined;
}

/** A client of TensorFlow Serving's PredictionService, ours or theirs. */
export class PredictionClient implements Disposable {
  readonly #client: Client;
  readonly #where: string;
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;

  constructor(
    address: Address,
    timeoutMs: number,
    nowMs: () => number,
    channel: ChannelCredentials = credentials.createInsecure(),
  ) {
    this.#where = formatAddress(address);
    this.#client = new Client(this.#where, channel, {
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
    });
    this.#timeoutMs = timeoutMs;
    this.#nowMs = nowMs;
  }

  /** @returns signatures by name, and the version that answered */
  async signatures(
    model: string,
    version?: number,
  ): Promise<{ signatures: Record<string, SignatureDef>; version: number }> {
    const reply = await this.#call("GetModelMetadata", GetModelMetadataRequestSchema, GetModelMetadataResponseSchema, {
      modelSpec: modelSpec(model, version),
      metadataField: ["signature_def"],
    });
    const packed = reply.metadata["signature_def"];
    const map = packed && anyUnpack(packed, SignatureDefMapSchema);
    if (!map) throw new ServingError("INTERNAL", "the server's metadata holds no signature_def");
    return { signatures: map.signatureDef, version: versionOf(reply.modelSpec) };
  }

  async predict(
    model: string,
    signature: string,
    inputs: ReadonlyMap<string, Tensor>,
    version?: number,
    { isExplained = false }: { readonly isExplained?: boolean } = {},
  ): Promise<Prediction> {
    let trailers: Metadata | undefined;
    const metadata = new Metadata();
    if (isExplained) metadata.set("x-shardserve-explain", "true");
    const request = {
      modelSpec: { ...modelSpec(model, version), signatureName: signature },
      inputs: Object.fromEntries(
        [...inputs].map(([alias, value]) => [alias, encodeTensorProto(value, { asContent: true })]),
      ),
    };
    const reply = await this.#call("Predict", PredictRequestSchema, PredictResponseSchema, request, {
      metadata,
      onTrailers: (received) => (trailers = received),
    });
    const outputs = new Map(Object.entries(reply.outputs).map(([alias, bytes]) => [alias, decodeTensorProto(bytes)]));
    const explanation = trailers?.get("x-shardserve-explanation")[0]?.toString();
    return { outputs, version: versionOf(reply.modelSpec), explanation };
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #call<I extends DescMessage, O extends DescMessage>(
    method: string,
    input: I,
    output: O,
    request: MessageInitShape<I>,
    options: { readonly metadata?: Metadata; readonly onTrailers?: (trailers: Metadata) => void } = {},
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      let reply: MessageShape<O>;
      const call = this.#client.makeUnaryRequest(
        `${SERVICE}/${method}`,
        (message: MessageShape<I>) => Buffer.from(toBinary(input, message)),
        (bytes: Buffer) => fromBinary(output, bytes),
        create(input, request),
        options.metadata ?? new Metadata(),
        { deadline: this.#nowMs() + this.#timeoutMs },
        (error, received) => (error ? reject(fromGrpc(error, this.#where)) : void (reply = received!)),
      );
      call.on("status", (status) => {
        options.onTrailers?.(status.metadata);
        resolve(reply);
      });
    });
  }
}

function modelSpec(name: string, version: number | undefined) {
  return version === undefined
    ? { name }
    : { name, versionChoice: { case: "version" as const, value: { value: BigInt(version) } } };
}

function versionOf(
  spec: { readonly versionChoice: { readonly case?: string | undefined; readonly value?: unknown } } | undefined,
): number {
  const choice = spec?.versionChoice;
  if (choice?.case !== "version") return -1;
  const { value } = choice;
  return Number(typeof value === "object" && value !== null && "value" in value ? value.value : value);
}

/** What grpc-js says around the error of the socket; it may not have tried yet. */
const NOT_CONNECTED = /^No connection established\. Last error: (?:Error: )?(.*?)\.? ?Resolution note: .*$/s;

/** The server's words, with the code that comes closest. */
function fromGrpc(error: ServiceError, where: string): ServingError {
  const codes = {
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    12: "UNIMPLEMENTED",
    14: "UNAVAILABLE",
  } as const;
  const code = codes[error.code as keyof typeof codes] ?? "INTERNAL";
  const why = NOT_CONNECTED.exec(error.details)?.[1];
  const text =
    why === undefined
      ? error.details || error.message
      : `${where} cannot be reached: ${why}: does a server listen there, and is it its gRPC port?`;
  return new ServingError(code, text, { cause: error });
}
