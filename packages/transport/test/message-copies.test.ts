import assert from "node:assert/strict";
import { decodeMessage, encodeMessage } from "../src/index.js";

describe("decoded messages", () => {
  it("keep their byte strings when the buffer that they were read from is written again", () => {
    const bytes = Uint8Array.from(encodeMessage({ key: "b", value: Uint8Array.of(1, 2, 3) }));
    const message = decodeMessage(bytes, "a message") as { key: string; value: Uint8Array };
    bytes.fill(0xff);
    assert.deepEqual(Array.from(message.value), [1, 2, 3]);
    assert.equal(message.key, "b");
  });
});
