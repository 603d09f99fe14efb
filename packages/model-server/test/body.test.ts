import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { CancelSource, isServingError } from "@shardserve/core";
import { DEFAULT_LIMITS } from "../src/limits.js";
import { BodyReader, BodyTooLargeError } from "../src/rest/body.js";

/** Inflates to twice what one body may have. */
const BOMB = gzipSync(Buffer.alloc(2 ** 21, 0x20));

function request(body: Buffer): IncomingMessage {
  return Object.assign(Readable.from([body]), {
    headers: { "content-encoding": "gzip" },
  }) as unknown as IncomingMessage;
}

describe("BodyReader", () => {
  it("counts what a body inflates to while it does, together with all others", async () => {
    const reader = new BodyReader({ ...DEFAULT_LIMITS, inflatedBytesMax: 2 ** 20, bodyBytesInFlightMax: 3 * 2 ** 20 });
    const read = (body: Buffer) => reader.read(request(body), new CancelSource());
    await assert.rejects(read(BOMB), BodyTooLargeError);
    const others = 2.5 * 2 ** 20;
    reader.bytesInFlight += others;
    await assert.rejects(read(BOMB), (error) => isServingError(error, "UNAVAILABLE"));
    assert.equal(reader.bytesInFlight, others, "what was refused is given back");
    reader.bytesInFlight -= others;
    const whole = await read(gzipSync("text"));
    assert.equal(String(whole.bytes), "text");
    whole.release();
    assert.equal(reader.bytesInFlight, 0);
  });
});
