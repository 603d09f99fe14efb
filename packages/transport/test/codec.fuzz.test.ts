import assert from "node:assert/strict";
import { isServingError, seededRandom, TraceParent } from "@shardserve/core";
import {
  BufferPool,
  createLookupRequest,
  decodeError,
  decodeMessage,
  DEFAULT_LIMITS,
  encodeMessage,
  FrameDecoder,
  planRows,
  readLookupRequest,
  readRowsReply,
  writeHeader,
  writeRowsHead,
} from "../src/index.js";

const FUZZ_MS = Number(process.env["FUZZ_MS"] ?? 300);

/** Feeds mutated bytes for the time given; only FRAME_INVALID may come out. */
function fuzz(name: string, samples: () => Uint8Array[], target: (bytes: Uint8Array) => void): void {
  it(`${name}: any bytes end in a value or FRAME_INVALID`, () => {
    const seed = Date.now() >>> 0;
    const random = seededRandom(seed);
    const untilMs = performance.now() + FUZZ_MS;
    let runs = 0;
    for (; performance.now() < untilMs; runs++) {
      const list = samples();
      const bytes = Buffer.from(list[random.uint32() % list.length] as Uint8Array);
      const flips = random.uint32() % 6;
      for (let i = 0; i < flips && bytes.length > 0; i++) bytes[random.uint32() % bytes.length] = random.uint32() & 255;
      const cut = random.uint32() % 4 === 0 ? random.uint32() % (bytes.length + 1) : bytes.length;
      const input = Buffer.alloc(cut);
      bytes.copy(input, 0, 0, cut);
      try {
        target(input);
      } catch (error) {
        assert.ok(isServingError(error, "FRAME_INVALID"), `seed ${seed}, run ${runs}: ${String(error)}`);
      }
    }
    assert.ok(runs > 0);
  });
}

describe("parsers fed with anything", () => {
  const trace = new TraceParent("0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7");
  const header = { channel: 1, remainingMs: 5, generation: 9, epoch: 0 };
  const request = createLookupRequest(header, [0, 3], [2, 5]).payload;
  const traced = createLookupRequest({ ...header, trace }, [0, 3], [2, 5]).payload;
  const tables = [
    { table: 1, status: 0, rowCount: 3, rowBytes: 8, defaults: Uint32Array.of(1), detail: 0 },
    { table: 2, status: 2, rowCount: 0, rowBytes: 8, defaults: new Uint32Array(0), detail: 17 },
  ];
  const layout = planRows(tables);
  const rows = Buffer.alloc(layout.bytes);
  writeRowsHead(rows, layout, 1, 1, tables);
  const message = encodeMessage({
    method: "open",
    params: { list: [1, 2.5, "text", new Uint8Array(40)], deep: { a: { b: [] } } },
  });
  const arrays = [
    Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff),
    Uint8Array.of(0xdf, 0x7f, 0xff, 0xff, 0xff),
    Buffer.alloc(200, 0x91),
  ];

  fuzz(
    "lookup request",
    () => [request, traced],
    (bytes) => readLookupRequest(bytes).trace,
  );
  fuzz(
    "rows reply",
    () => [rows],
    (bytes) => readRowsReply(bytes),
  );
  fuzz(
    "control message",
    () => [message, ...arrays],
    (bytes) => decodeMessage(bytes, "a message"),
  );
  fuzz(
    "error",
    () => [encodeMessage({ code: "INTERNAL", message: "m", details: {} })],
    (bytes) => decodeError(bytes),
  );

  const frame = (type: number, payload: Uint8Array) => {
    const bytes = Buffer.alloc(16 + payload.length);
    writeHeader(new DataView(bytes.buffer, bytes.byteOffset), 0, type, 0, 1, payload.length);
    bytes.set(payload, 16);
    return bytes;
  };
  const stream = Buffer.concat([frame(6, request), frame(3, message), frame(11, new Uint8Array(0))]);
  fuzz(
    "frame stream",
    () => [stream, stream.subarray(16), frame(6, request)],
    (bytes) => {
      const decoder = new FrameDecoder("server", DEFAULT_LIMITS, new BufferPool(), () => undefined);
      decoder.push(bytes.subarray(0, bytes.length >> 1));
      decoder.push(bytes.subarray(bytes.length >> 1));
    },
  );

  it("hostile counts allocate nothing", () => {
    for (const bytes of arrays.slice(0, 2)) {
      const before = process.memoryUsage().heapUsed;
      assert.throws(() => decodeMessage(bytes, "a message"), /announces \d+ values/);
      assert.ok(process.memoryUsage().heapUsed - before < 2 ** 20);
    }
  });
});
