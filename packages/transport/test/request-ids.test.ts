import assert from "node:assert/strict";
import { connect } from "node:net";
import { eventually } from "@shardserve/testkit";
import { encodeMessage } from "../src/frame/message.js";
import { PROTOCOL_VERSION } from "../src/frame/handshake.js";
import { type Exchange, FRAME, FramedServer, HEADER_BYTES, parseAddress, writeHeader } from "../src/index.js";

function frame(type: number, requestId: number, payload: Uint8Array = new Uint8Array(0)): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + payload.length);
  writeHeader(new DataView(bytes.buffer, bytes.byteOffset), 0, type, 0, requestId, payload.length);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

describe("a request id that is used again after its request was cancelled", () => {
  for (const [answer, how] of [
    [(exchange: Exchange) => exchange.reply(FRAME.ROWS, [new Uint8Array(8)]), "answered"],
    [(exchange: Exchange) => exchange.fail(new Error("late")), "refused"],
    [(exchange: Exchange) => exchange.reserveReply(FRAME.ROWS, 8), "answered in place"],
  ] as const) {
    it(`still names the new request when the old one is ${how} late`, async () => {
      const asked: Exchange[] = [];
      await using server = new FramedServer({
        peer: "server",
        listen: [parseAddress("127.0.0.1:0")],
        lookup: (exchange) => void asked.push(exchange),
      });
      await server.start();
      const socket = connect((server.addresses[0] as { port: number }).port, "127.0.0.1");
      socket.resume();
      const hello = encodeMessage({ protocol: PROTOCOL_VERSION, peer: "client" });
      socket.write(Buffer.concat([frame(FRAME.HELLO, 0, hello), frame(FRAME.LOOKUP, 7), frame(FRAME.CANCEL, 7)]));
      socket.write(frame(FRAME.LOOKUP, 7));
      await eventually(() => assert.equal(asked.length, 2));
      answer(asked[0]!);
      socket.write(frame(FRAME.CANCEL, 7));
      await eventually(() => assert.ok(asked[1]!.isCancelled));
      socket.destroy();
    });
  }
});
