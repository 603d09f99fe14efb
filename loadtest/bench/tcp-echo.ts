import { type AddressInfo, createServer } from "node:net";

/**
 * The baseline of `bench lookup`: takes (u32 request bytes, u32 reply bytes, request) and answers with that many bytes of
 * one constant buffer. No framing, no ids, no rows: what it reaches is what loopback TCP leaves to a Node process.
 *
 *     node tcp-echo.js   prints its port, runs until its standard input closes
 */
let reply = Buffer.alloc(0);
const server = createServer({ noDelay: true }, (socket) => {
  const head = Buffer.alloc(8);
  let headFilled = 0;
  let leftBytes = 0;
  socket.on("data", (chunk) => {
    for (let at = 0; at < chunk.length; ) {
      if (headFilled < 8) {
        const taken = chunk.copy(head, headFilled, at, Math.min(chunk.length, at + 8 - headFilled));
        headFilled += taken;
        at += taken;
        if (headFilled === 8) leftBytes = head.readUInt32LE(0);
        continue;
      }
      const taken = Math.min(leftBytes, chunk.length - at);
      leftBytes -= taken;
      at += taken;
      if (leftBytes > 0) break;
      headFilled = 0;
      const replyBytes = head.readUInt32LE(4);
      if (reply.length < replyBytes) reply = Buffer.alloc(replyBytes, 1);
      socket.write(reply.subarray(0, replyBytes));
    }
  });
  socket.on("error", () => socket.destroy());
});
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
process.stdin.on("close", () => process.exit(0)).resume();
