import assert from "node:assert/strict";
import fc from "fast-check";
import {
  BufferPool,
  createLookupRequest,
  decodeError,
  decodeMessage,
  DEFAULT_LIMITS,
  encodeError,
  encodeMessage,
  FRAME,
  FrameDecoder,
  HEADER_BYTES,
  lookupRequestBytes,
  PlainRows,
  planRows,
  readLookupRequest,
  readRowsReply,
  type RowsLayout,
  TABLE_STATUS,
  type TableReply,
  TRACE_BYTES,
  writeHeader,
  writeRowsHead,
} from "../src/index.js";
import { ERRORS, type ErrorCode, ServingError, TraceParent } from "@shardserve/core";

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly requestId: number;
  readonly payload: Uint8Array;
}

/** The dumb twin of the decoder: has the whole stream at hand and slices it. */
function sliceFrames(stream: Uint8Array): Frame[] {
  const frames: Frame[] = [];
  const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  for (let at = 0; at < stream.length; ) {
    const end = at + HEADER_BYTES + view.getUint32(at + 8, true);
    frames.push({
      type: view.getUint8(at + 2),
      flags: view.getUint8(at + 3),
      requestId: view.getUint32(at + 4, true),
      payload: stream.slice(at + HEADER_BYTES, end),
    });
    at = end;
  }
  return frames;
}

const serverFrame = fc
  .record({
    type: fc.constantFrom(FRAME.HELLO, FRAME.CALL, FRAME.LOOKUP, FRAME.CANCEL, FRAME.PING),
    flags: fc.nat(255),
    requestId: fc.integer({ min: 0, max: 0xffff_ffff }),
    payload: fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ minLength: 30_000, maxLength: 70_000 })),
  })
  .map((frame) =>
    frame.type === FRAME.CANCEL || frame.type === FRAME.PING ? { ...frame, payload: new Uint8Array(0) } : frame,
  );

describe("frame codec against a slow twin", () => {
  it("cuts any stream the same way, however it is torn", () => {
    fc.assert(
      fc.property(
        fc.array(serverFrame, { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 50_000 }), { minLength: 1, maxLength: 20 }),
        fc.boolean(),
        (frames, cuts, isDirect) => {
          const stream = Buffer.concat(
            frames.flatMap((frame) => {
              const header = new Uint8Array(HEADER_BYTES);
              const view = new DataView(header.buffer);
              writeHeader(view, 0, frame.type, frame.flags, frame.requestId, frame.payload.length);
              return [header, frame.payload];
            }),
          );
          const got: Frame[] = [];
          const decoder = new FrameDecoder(
            "server",
            DEFAULT_LIMITS,
            new BufferPool(),
            (type, flags, requestId, payload) => {
              assert.equal(payload.byteOffset % 8, 0);
              got.push({ type, flags, requestId, payload: payload.slice() });
            },
          );
          for (let at = 0, i = 0; at < stream.length; i++) {
            const cut = cuts[i % cuts.length] as number;
            const target = isDirect ? decoder.target() : undefined;
            const taken = Math.min(cut, stream.length - at, target?.length ?? cut);
            const chunk = stream.subarray(at, at + taken);
            if (target) {
              target.set(chunk);
              decoder.advance(taken);
            } else decoder.push(chunk);
            at += taken;
          }
          assert.deepEqual(got.map(plain), sliceFrames(stream).map(plain));
          assert.deepEqual(got.map(plain), frames.map(plain));
        },
      ),
      { numRuns: 60 },
    );
  });
});

/** A payload whose rows are zeros. */
function withoutRows(payload: Buffer, layout: RowsLayout, tables: readonly TableReply[]): Buffer {
  tables.forEach(({ rowCount, rowBytes }, i) => {
    const offset = layout.rowOffsets[i] as number;
    if (rowCount > 0) payload.fill(0, offset, offset + rowCount * rowBytes);
  });
  return payload;
}

function plain(frame: Frame) {
  return { ...frame, payload: Buffer.from(frame.payload).toString("latin1") };
}

function hexDigits(length: number) {
  return fc.string({ unit: fc.constantFrom(...Array.from("0123456789abcdef")), minLength: length, maxLength: length });
}

describe("lookup payloads", () => {
  it("reads back what was written", () => {
    const column = fc.tuple(
      fc.nat(4095),
      fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { maxLength: 40 }),
    );
    const count = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
    fc.assert(
      fc.property(
        fc.array(column, { maxLength: 12 }),
        count,
        count,
        fc.nat(100_000),
        fc.option(fc.tuple(hexDigits(32), hexDigits(16)), { nil: undefined }),
        (columns, generation, epoch, remainingMs, ids) => {
          const trace = ids && new TraceParent(...ids);
          const header = { channel: 3, remainingMs, generation, epoch, trace };
          const { payload, words, idsAt } = createLookupRequest(
            header,
            columns.map(([table]) => table),
            columns.map(([, list]) => list.length),
          );
          const flat = columns.flatMap(([, list]) => list);
          new BigInt64Array(words.buffer, words.byteOffset + idsAt * 4, flat.length).set(flat);
          const request = readLookupRequest(payload);
          assert.deepEqual([...request.ids], flat);
          assert.deepEqual(
            [...request.columns],
            columns.flatMap(([table, list]) => [table, list.length]),
          );
          const { channel } = request;
          assert.deepEqual(
            { channel, remainingMs: request.remainingMs, generation: request.generation, epoch: request.epoch },
            { channel: 3, remainingMs, generation, epoch },
          );
          assert.deepEqual(request.trace, trace);
          const tableCount = columns.length;
          assert.equal(payload.length, lookupRequestBytes(tableCount, flat.length) + (trace ? TRACE_BYTES : 0));
        },
      ),
    );
  });

  it("lays out plain replies as the general writer does", () => {
    const rowBytesOf = Int32Array.from({ length: 40 }, (_, table) => [4, 6, 64, 256][(table * 7) % 4] as number);
    const column = fc.record({ table: fc.nat(39), rowCount: fc.nat(9) });
    const plain = new PlainRows();
    fc.assert(
      fc.property(fc.array(column, { maxLength: 80 }), (columns) => {
        const tables = columns.map(({ table, rowCount }): TableReply => {
          const rowBytes = rowBytesOf[table] as number;
          return { table, rowCount, rowBytes, status: TABLE_STATUS.OK, defaults: new Uint32Array(0), detail: 0 };
        });
        const layout = planRows(tables);
        const expected = Buffer.alloc(layout.bytes);
        writeRowsHead(expected, layout, 7, 2 ** 40, tables);
        const flat = Int32Array.from(columns.flatMap(({ table, rowCount }) => [table, rowCount]));
        assert.equal(plain.plan(flat, 0, columns.length, rowBytesOf), layout.bytes);
        for (let k = 0; k < plain.widthCount; k++) {
          const first = tables.findIndex((table) => table.rowBytes === plain.widths[k] && table.rowCount > 0);
          assert.equal(plain.starts[k], layout.rowOffsets[first]);
        }
        const got = Buffer.alloc(3 + layout.bytes, 0xee);
        const view = new DataView(got.buffer, got.byteOffset, got.length);
        plain.writeHead(view, 3, 7, 2 ** 40, flat, 0, columns.length, rowBytesOf);
        assert.ok(withoutRows(got.subarray(3), layout, tables).equals(withoutRows(expected, layout, tables)));
      }),
    );
  });

  it("lays rows of one width behind one another, 64-aligned, and reads the heads back", () => {
    const table = fc
      .record({
        table: fc.nat(100),
        status: fc.constantFrom(...Object.values(TABLE_STATUS)),
        rowCount: fc.nat(20),
        rowBytes: fc.constantFrom(4, 6, 64, 256),
        picks: fc.uniqueArray(fc.nat(19), { maxLength: 4 }),
        detail: fc.nat(0xffff),
      })
      .map(({ picks, ...rest }): TableReply => {
        const rowCount = rest.status === TABLE_STATUS.OK ? rest.rowCount : 0;
        return { ...rest, rowCount, defaults: Uint32Array.from(picks.filter((pick) => pick < rowCount)) };
      });
    fc.assert(
      fc.property(fc.array(table, { maxLength: 10 }), (tables) => {
        const layout = planRows(tables);
        const payload = Buffer.alloc(layout.bytes + 8, 0xee).subarray(0, layout.bytes);
        writeRowsHead(payload, layout, 5, 2 ** 40, tables);
        const reply = readRowsReply(payload);
        assert.equal(reply.generation, 5);
        assert.equal(reply.epoch, 2 ** 40);
        const ends = new Map<number, number>();
        assert.equal(reply.tableCount, tables.length);
        tables.forEach(({ defaults, ...expected }, k) => {
          const [rowCount, rowBytes, rowOffset] = [reply.rowCount(k), reply.rowBytes(k), reply.rowOffset(k)];
          const [table, status, detail] = [reply.table(k), reply.status(k), reply.detail(k)];
          assert.deepEqual({ table, status, rowCount, rowBytes, detail }, expected);
          assert.equal(reply.defaultCount(k), defaults.length);
          if (defaults.length > 0) assert.deepEqual(reply.defaults(k), defaults);
          if (rowCount === 0) return;
          const end = ends.get(rowBytes);
          if (end === undefined) assert.equal(rowOffset % 64, 0);
          else assert.equal(rowOffset, end);
          ends.set(rowBytes, rowOffset + rowCount * rowBytes);
        });
      }),
    );
  });
});

describe("control messages", () => {
  it("survive the trip", () => {
    const value = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: "small", withCrossShrink: true },
        fc.string(),
        fc.integer(),
        fc.maxSafeInteger(),
        fc.boolean(),
        fc.constant(null),
        fc.array(tie("value"), { maxLength: 5 }),
        fc.dictionary(
          fc.string({ minLength: 1, maxLength: 6 }).filter((key) => key !== "__proto__"),
          tie("value"),
          { maxKeys: 5, noNullPrototype: true },
        ),
      ),
    })).value;
    fc.assert(
      fc.property(value, (message) => assert.deepEqual(decodeMessage(encodeMessage(message), "a message"), message)),
    );
  });

  it("carry every error code, and name one that is unknown here", () => {
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      const error = decodeError(encodeError(new ServingError(code, `about ${code}`, { details: { partition: 3 } })));
      assert.deepEqual([error.code, error.message, error.details], [code, `about ${code}`, { partition: 3 }]);
    }
    const unknown = decodeError(encodeMessage({ code: "FROM_THE_FUTURE", message: "x", details: {} }));
    assert.deepEqual([unknown.code, unknown.message], ["INTERNAL", "peer's error FROM_THE_FUTURE: x"]);
  });
});
