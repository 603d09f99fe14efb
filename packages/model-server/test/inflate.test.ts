import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { CancelSource } from "@shardserve/core";
import { inflated } from "../src/inflate.js";

const nothing = () => undefined;

describe("inflated", () => {
  it("keeps of a small text nothing but the text", async () => {
    const [piece, ...others] = await inflated(gzipSync("twenty bytes of text"), "gzip", nothing);
    assert.equal(String(piece), "twenty bytes of text");
    assert.equal(others.length, 0);
    assert.equal(piece!.buffer.byteLength, piece!.length);
  });

  it("keeps the bytes of larger ones, whatever the number of pieces", async () => {
    for (const length of [0, 32_767, 32_768, 65_536, 65_537, 200_000]) {
      const text = Buffer.alloc(length, "abcdefg");
      let counted = 0;
      const pieces = await inflated(gzipSync(text), "gzip", (bytes) => void (counted += bytes));
      assert.deepEqual(Buffer.concat(pieces), text, `${length} bytes`);
      assert.equal(counted, length);
    }
  });

  it("inflates nothing for a request that is over already", async () => {
    const source = new CancelSource();
    source.abort(new Error("the client is gone"));
    let counted = 0;
    const pieces = inflated(gzipSync("text"), "gzip", (bytes) => void (counted += bytes), source);
    await assert.rejects(pieces, /the client is gone/);
    assert.equal(counted, 0);
  });
});
