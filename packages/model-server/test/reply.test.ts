import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Reply } from "../src/rest/reply.js";

describe("a REST reply", () => {
  it("carries any bytes, however many, as they are", async () => {
    const bodies = [0, 1, 300, 8191, 8192, 8193, 100_000].map((length) =>
      Buffer.from(Uint8Array.from({ length }, (_, i) => i * 31)),
    );
    const server = createServer((request, response) => {
      const reply = new Reply(response, () => ["x-any", "1"]);
      reply.send(200, "application/octet-stream", bodies[Number(request.url!.slice(1))]!);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      for (const [i, body] of bodies.entries()) {
        const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/${i}`);
        assert.equal(answer.headers.get("content-length"), String(body.length));
        assert.equal(answer.headers.get("x-any"), "1");
        assert.deepEqual(Buffer.from(await answer.arrayBuffer()), body);
      }
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });
});
