import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { create, fromBinary, PredictRequestSchema, PredictResponseSchema, toBinary } from "@shardserve/api";
import { decodeTensorProto, encodeTensorProto, type Tensor } from "@shardserve/tensor";

const identity = (bytes: Buffer): Buffer => bytes;

/** A reply of PredictionService.Predict. */
export interface GrpcReply {
  readonly version: number;
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
      this.#client.makeUnaryRequest(
        "/tensorflow.serving.PredictionService/Predict",
        identity,
        identity,
        request,
        { deadline: Date.now() + 30_000 },
        (error: ServiceError | null, reply?: Buffer) => (error ? reject(error) : resolve(decode(reply!))),
      );
    });
  }

  predict(model: string, signature: string, inputs: ReadonlyMap<string, Tensor>): Promise<GrpcReply> {
    return this.send(predictRequest(model, signature, inputs));
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

function decode(reply: Buffer): GrpcReply {
  const { modelSpec, outputs } = fromBinary(PredictResponseSchema, reply);
  const choice = modelSpec?.versionChoice;
  const wrapped = choice?.case === "version" ? (choice.value as unknown as bigint | { value: bigint }) : 0n;
  return {
    version: Number(typeof wrapped === "bigint" ? wrapped : wrapped.value),
    outputs: new Map(Object.entries(outputs).map(([alias, bytes]) => [alias, decodeTensorProto(bytes)])),
    bytes: outputs,
  };
}
