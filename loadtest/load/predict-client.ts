import { Client, credentials } from "@grpc/grpc-js";

const identity = (bytes: Buffer): Buffer => bytes;

/** Sends ready-made PredictRequest bytes over one gRPC connection and hands back reply bytes: all a load generator should cost. */
export class PredictClient {
  readonly #client: Client;

  /** @param address  host:port or unix:PATH */
  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), {
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
      "grpc.use_local_subchannel_pool": 1,
    });
  }

  predict(request: Buffer, deadlineMs = 60_000): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        "/tensorflow.serving.PredictionService/Predict",
        identity,
        identity,
        request,
        { deadline: Date.now() + deadlineMs },
        (error, reply) => (error ? reject(error) : resolve(reply!)),
      );
    });
  }

  close(): void {
    this.#client.close();
  }
}
