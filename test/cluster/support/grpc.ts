import { Client, credentials, type Metadata, type ServiceError, type StatusObject } from "@grpc/grpc-js";
import { create, fromBinary, PredictRequestSchema, PredictResponseSchema, toBinary } from "@shardserve/api";
import { decodeTensorProto, encodeTensorProto, type Tensor } from "@shardserve/tensor";

const identity = (bytes: Buffer): Buffer => bytes;

/** A reply of PredictionService.Predict. */
export interface GrpcReply {
  readonly version: number;
  /** The epoch that the trailers claim; undefined where the model has no sharded rows. */
  readonly epoch: number | undefined;
  readonly trailers: Readonly<Record<string, string>>;
  readonly outputs: ReadonlyMap<string, Tensor>;
  /** The TensorProtos as they came. */
  readonly bytes: Readonly<Record<string, Uint8Array>>;
}

/** Serialised PredictRequest. */
export function predictRequest(model: string, signature: string, inputs: ReadonlyMap<string, Tensor>): Buffer {
  const message = create(PredictRequestSchema, {
    modelSpec: { name: model, signatureName: signature },
    inputs: Object.fromEntries([...inputs].map(([alias, value]) => [alias, encodeTensorProto(value)])),
  });
  return Buffer.from(toBinary(PredictRequestSchema, message));
}

/** A plain client of PredictionService over one connection: what any user of TensorFlow Serving has. */
export class GrpcClient implements Disposable {
  readonly #client: Client;

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), {
      "grpc.max_receive_message_length": -1,
      "grpc.use_local_subchannel_pool": 1,
    });
  }

  /** Sends a serialised PredictRequest. @throws ServiceError with the server's code */
  send(request: Buffer): Promise<GrpcReply> {
    return new Promise((resolve, reject) => {
      let received: Buffer | undefined;
      const call = this.#client.makeUnaryRequest(
        "/tensorflow.serving.PredictionService/Predict",
        identity,
        identity,
        request,
        { deadline: Date.now() + 30_000 },
        (error: ServiceError | null, reply?: Buffer) => {
          if (error) reject(error);
          received = reply;
        },
      );
      call.on("status", ({ metadata }: StatusObject) => received && resolve(decode(received, metadata)));
    });
  }

  predict(model: string, signature: string, inputs: ReadonlyMap<string, Tensor>): Promise<GrpcReply> {
    return this.send(predictRequest(model, signature, inputs));
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

function decode(reply: Buffer, trailers: Metadata): GrpcReply {
  const { modelSpec, outputs } = fromBinary(PredictResponseSchema, reply);
  const choice = modelSpec?.versionChoice;
  const wrapped = choice?.case === "version" ? (choice.value as unknown as bigint | { value: bigint }) : 0n;
  const [epoch] = trailers.get("x-shardserve-epoch");
  return {
    epoch: epoch === undefined ? undefined : Number(epoch),
    trailers: Object.fromEntries(Object.entries(trailers.getMap()).map(([name, value]) => [name, value.toString()])),
    version: Number(typeof wrapped === "bigint" ? wrapped : wrapped.value),
    outputs: new Map(Object.entries(outputs).map(([alias, bytes]) => [alias, decodeTensorProto(bytes)])),
    bytes: outputs,
  };
}
