import { Server, ServerCredentials } from "@grpc/grpc-js";

/**
 * The baseline of `bench predict`: a bare grpc-js server, a process of its own, that takes PredictRequest bytes and answers
 * `replyBytes` bytes under the same method name. What it reaches is what Node's gRPC leaves to a server that does nothing.
 *
 *     node echo-server.js REPLY_BYTES   prints its port, runs until its standard input closes
 */
const reply = Buffer.alloc(Number(process.argv[2] ?? 0));
const server = new Server({ "grpc.max_receive_message_length": -1 });
const identity = (bytes: Buffer): Buffer => bytes;
server.addService(
  {
    Predict: {
      path: "/tensorflow.serving.PredictionService/Predict",
      requestStream: false,
      responseStream: false,
      requestSerialize: identity,
      requestDeserialize: identity,
      responseSerialize: identity,
      responseDeserialize: identity,
    },
  },
  { Predict: (_call: unknown, callback: (error: null, value: Buffer) => void) => callback(null, reply) },
);
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(port);
});
process.stdin.on("close", () => process.exit(0)).resume();
