import { once } from "node:events";
import { connect } from "node:net";
import { startServer } from "./harness.js";
import { FunctionModel } from "./models.js";

const request = (body: string) =>
  `POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const turn = () => new Promise((resolve) => setTimeout(resolve, 2));

describe("pipelined REST requests", () => {
  let runs = 0;
  /** Answers 1 at once, and 0 never. */
  const model = new FunctionModel({
    serving_default: {
      inputs: { x: { dtype: "float32" } },
      outputs: { y: { dtype: "float32" } },
      run: (inputs, { signal }) => {
        runs++;
        const x = inputs.get("x")!;
        if ((x.data as Float32Array)[0] === 1) return { y: x };
        return new Promise<never>((_resolve, reject) => {
          signal!.addEventListener("abort", () => reject(signal!.reason as Error), { once: true });
        });
      },
    },
  });

  it("end with their connection, answered or not, also those whose turn has not come", async () => {
    await using server = await startServer({ m: { 1: model } });
    const socket = connect(server.server.restPort, "127.0.0.1");
    socket.write(['{"inputs": 0}', '{"inputs": 1}', '{"inputs": 0}', '{"inputs": 1}'].map(request).join(""));
    while (runs < 4) await turn();
    socket.destroy();
    await once(socket, "close");
    while (server.server.inFlight > 0) await turn();
  });
});
