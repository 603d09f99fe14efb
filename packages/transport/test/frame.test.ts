import assert from "node:assert/strict";
import { isServingError } from "@shardserve/core";
import {
  BufferPool,
  checkHeader,
  DEFAULT_LIMITS,
  FRAME,
  FrameDecoder,
  HEADER_BYTES,
  writeHeader,
} from "../src/index.js";

function frameBytes(type: number, requestId: number, payload: Uint8Array, flags = 0): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  writeHeader(new DataView(bytes.buffer), 0, type, flags, requestId, payload.length);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

function collector(role: "client" | "server") {
  const frames: { type: number; flags: number; requestId: number; payload: number[] }[] = [];
  const decoder = new FrameDecoder(role, DEFAULT_LIMITS, new BufferPool(), (type, flags, requestId, payload) => {
    frames.push({ type, flags, requestId, payload: [...payload] });
  });
  return { frames, decoder };
}

describe("frame header", () => {
  it("has the bytes that docs/formats.md states", () => {
    const bytes = frameBytes(FRAME.LOOKUP, 0x01020304, new Uint8Array(3));
    assert.deepEqual([...bytes.subarray(0, 12)], [0x73, 0x76, 6, 0, 4, 3, 2, 1, 3, 0, 0, 0]);
  });

  it("refuses a wrong magic, a damaged header, a foreign type and a length over the limit", () => {
    const good = frameBytes(FRAME.LOOKUP, 1, new Uint8Array(8));
    const check = (bytes: Uint8Array, role: "client" | "server") =>
      checkHeader(new DataView(bytes.buffer), 0, role, DEFAULT_LIMITS);
    assert.equal(check(good, "server"), 8);
    assert.throws(() => check(good, "client"), /type 6 is not one that a client reads/);
    for (let bit = 0; bit < 128; bit++) {
      const damaged = good.slice();
      damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
      assert.throws(
        () => check(damaged, "server"),
        (error) => isServingError(error, "FRAME_INVALID"),
      );
    }
    const huge = new Uint8Array(HEADER_BYTES);
    writeHeader(new DataView(huge.buffer), 0, FRAME.LOOKUP, 0, 1, 0xffff_fff0);
    assert.throws(() => check(huge, "server"), /announces 4294967280 payload bytes, the limit is/);
  });
});

describe("frame decoder", () => {
  it("reads payloads that follow a large one where they stay", () => {
    const pool = new BufferPool();
    const read: { readonly block: ArrayBufferLike; readonly byteCount: number }[] = [];
    const copiedBytes: number[] = [];
    const decoder = new FrameDecoder("client", DEFAULT_LIMITS, pool, (_type, _flags, requestId, payload) => {
      const inPlace = read.filter(({ block }) => block === payload.buffer);
      copiedBytes.push(payload.length - inPlace.reduce((sum, { byteCount }) => sum + byteCount, 0));
      assert.ok(payload.every((byte) => byte === requestId));
      read.length = 0;
      pool.release(payload);
    });
    const sizes = [600_000, 700_000, 300_000, 10_000, 10_000, 900_000];
    const stream = Buffer.concat(
      sizes.map((bytes, i) => frameBytes(FRAME.ROWS, i + 1, new Uint8Array(bytes).fill(i + 1))),
    );
    for (let at = 0; at < stream.length; ) {
      const target = decoder.target();
      const byteCount = Math.min(target.length, stream.length - at);
      target.set(stream.subarray(at, at + byteCount));
      read.push({ block: target.buffer, byteCount });
      at += byteCount;
      decoder.advance(byteCount);
    }
    assert.equal(copiedBytes.length, sizes.length);
    assert.deepEqual(copiedBytes.slice(1, 3), [0, 0]);
    assert.ok(decoder.isBetweenFrames);
  });

  it("assembles frames from single bytes", () => {
    const { frames, decoder } = collector("server");
    const stream = Buffer.concat([
      frameBytes(FRAME.LOOKUP, 7, Uint8Array.of(1, 2, 3)),
      frameBytes(FRAME.PING, 0, new Uint8Array(0)),
      frameBytes(FRAME.CALL, 8, Uint8Array.of(9), 1),
    ]);
    for (const byte of stream) decoder.push(Uint8Array.of(byte));
    assert.deepEqual(frames, [
      { type: FRAME.LOOKUP, flags: 0, requestId: 7, payload: [1, 2, 3] },
      { type: FRAME.PING, flags: 0, requestId: 0, payload: [] },
      { type: FRAME.CALL, flags: 1, requestId: 8, payload: [9] },
    ]);
    assert.equal(decoder.isBetweenFrames, true);
  });

  it("lets a socket read into the payload itself when much is missing", () => {
    const { frames, decoder } = collector("client");
    const payload = Uint8Array.from({ length: 100_000 }, (_, i) => i & 255);
    const stream = Buffer.concat([frameBytes(FRAME.ROWS, 3, payload), frameBytes(FRAME.GOAWAY, 0, new Uint8Array(0))]);
    let at = 0;
    while (at < stream.length) {
      const target = decoder.target();
      const taken = Math.min(target.length, stream.length - at, 30_000);
      target.set(stream.subarray(at, at + taken));
      decoder.advance(taken);
      at += taken;
    }
    assert.deepEqual(frames[0]?.payload, [...payload]);
    assert.equal(frames[1]?.type, FRAME.GOAWAY);
  });

  it("takes no memory for a refused length", () => {
    const pool = new BufferPool();
    let acquired = 0;
    const acquire = pool.acquire.bind(pool);
    pool.acquire = (bytes) => {
      acquired += bytes;
      return acquire(bytes);
    };
    const decoder = new FrameDecoder("server", DEFAULT_LIMITS, pool, () => undefined);
    const bytes = new Uint8Array(HEADER_BYTES);
    writeHeader(new DataView(bytes.buffer), 0, FRAME.LOOKUP, 0, 1, DEFAULT_LIMITS.requestBytesMax + 1);
    assert.throws(
      () => decoder.push(bytes),
      (error) => isServingError(error, "FRAME_INVALID"),
    );
    assert.equal(acquired, 0);
  });
});

describe("buffer pool", () => {
  it("hands released blocks out again, up to its bound", () => {
    const pool = new BufferPool({ retainedBytesMax: 256 * 1024 });
    const first = pool.acquire(100_000);
    pool.release(first);
    assert.equal(pool.retainedBytes, 131_072);
    const second = pool.acquire(70_000);
    assert.equal(second.buffer, first.buffer);
    assert.equal(second.length, 70_000);
    const large = pool.acquire(1_000_000);
    pool.release(large);
    assert.equal(pool.retainedBytes, 0);
    pool.release(second);
    assert.throws(() => pool.release(second), /released twice/);
  });
});
