import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * The REST baseline of `bench serve`: a bare node:http server, a process of its own, that reads each body to its end and
 * answers `replyBytes` bytes.
 *
 *     node http-echo.js REPLY_BYTES   prints its port, runs until its standard input closes
 */
const reply = Buffer.alloc(Number(process.argv[2] ?? 0), " ");
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": reply.length });
    response.end(reply);
  });
});
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
process.stdin.on("close", () => process.exit(0)).resume();
