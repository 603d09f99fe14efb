import assert from "node:assert/strict";
import { type OpenSource, sliceOf } from "../src/files/file-source.js";

/** Byte i of it is i. */
function sourceOf(size: number): OpenSource & { isClosed: boolean } {
  const bytes = Uint8Array.from({ length: size }, (_, i) => i);
  const source = {
    size,
    isClosed: false,
    read: (offset: number, length: number) => Promise.resolve(bytes.slice(offset, offset + length)),
    [Symbol.asyncDispose]: () => Promise.resolve(void (source.isClosed = true)),
  };
  return source;
}

describe("a part of a file", () => {
  it("ends where the part does, not where the file does", async () => {
    await using part = await sliceOf(sourceOf(20), 5, 4);
    assert.deepEqual([...(await part.read(0, 100))], [5, 6, 7, 8]);
    assert.deepEqual([...(await part.read(3, 100))], [8]);
    assert.equal((await part.read(4, 100)).length, 0);
  });

  it("that the file does not reach is refused, and the file is closed", async () => {
    const whole = sourceOf(8);
    await assert.rejects(sliceOf(whole, 5, 4), { code: "NOT_FOUND", message: "it has 8 bytes, 9 are needed" });
    assert.ok(whole.isClosed);
  });
});
