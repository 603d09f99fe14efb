import assert from "node:assert/strict";
import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTcp, type Socket } from "node:net";
import { deflateSync, gzipSync } from "node:zlib";
import { tensor } from "@shardserve/tensor";
import { callRaw, PREDICT, predictRequest, startServer, type TestServer } from "./harness.js";
import { halfPlus } from "./models.js";

const REQUEST = predictRequest({ x: tensor("float32", [1], Float32Array.of(1)) });

function open(session: ClientHttp2Session, headers: OutgoingHttpHeaders = {}): ClientHttp2Stream {
  const stream = session.request({
    ...headers,
    ":method": "POST",
    ":path": PREDICT,
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => undefined); // a reset is one; what it is, rstCode says
  stream.resume();
  return stream;
}

/** The beginning of a message of `declaredBytes`, with `sentBytes` of it. */
function beginning(declaredBytes: number, sentBytes: number): Buffer {
  const bytes = Buffer.alloc(5 + sentBytes);
  bytes.writeUInt32BE(declaredBytes, 1);
  return bytes;
}

function rstCode(stream: ClientHttp2Stream): Promise<number> {
  return new Promise((resolve) => {
    if (stream.closed) resolve(stream.rstCode);
    else stream.once("close", () => resolve(stream.rstCode));
  });
}

/** What a call was answered: status and text. Resolves when it is over for both sides. */
async function answerOf(stream: ClientHttp2Stream): Promise<string> {
  let trailers: IncomingHttpHeaders = {};
  stream.on("trailers", (entries) => (trailers = entries));
  stream.on("response", (headers) => (trailers = headers));
  await once(stream, "close");
  return `${String(trailers["grpc-status"])}: ${decodeURIComponent(trailers["grpc-message"]?.toString() ?? "")}`;
}

function compressedMessage(message: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(1);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

async function isAnswering({ client }: TestServer): Promise<void> {
  await callRaw(client, PREDICT, REQUEST);
}

/** Whether the server hung up, told by the socket's end. */
function hungUp(socket: Socket): Promise<void> {
  socket.on("error", () => undefined);
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

function frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(streamId, 5);
  return Buffer.concat([header, payload]);
}

const PREFACE = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0, Buffer.alloc(0))]);

describe("hostile HTTP/2 clients", function () {
  this.timeout(60_000);

  it("resets streams whose request trickles in or never comes, and answers the others", async () => {
    await using server = await startServer({ m: { 1: halfPlus(2) } }, { limits: { receiveTimeoutMs: 300 } });
    const session = connect(`http://127.0.0.1:${server.server.grpcPort}`);
    const [silent, trickling] = [open(session), open(session)];
    trickling.write(beginning(1000, 0));
    const timer = setInterval(() => trickling.closed || trickling.write("x"), 20);
    assert.equal(await rstCode(silent), constants.NGHTTP2_ENHANCE_YOUR_CALM);
    assert.equal(await rstCode(trickling), constants.NGHTTP2_ENHANCE_YOUR_CALM);
    clearInterval(timer);
    await isAnswering(server);
    session.destroy();
  });

  it("lets a request take its time that comes at a decent rate", async () => {
    await using server = await startServer({ m: { 1: halfPlus(2) } }, { limits: { receiveTimeoutMs: 1 } });
    const session = connect(`http://127.0.0.1:${server.server.grpcPort}`);
    const large = open(session);
    const bytes = 8 * 2 ** 20; // two minutes at the least rate
    large.write(beginning(bytes, bytes - 1));
    const silent = open(session);
    assert.equal(await rstCode(silent), constants.NGHTTP2_ENHANCE_YOUR_CALM);
    assert.ok(!large.closed, "a look found the other one only");
    large.end("x");
    assert.equal(await rstCode(large), constants.NGHTTP2_NO_ERROR, "it was answered: no such request");
    session.destroy();
  });

  it("bounds the bytes of requests that are not whole yet", async () => {
    const limits = { messageBytesInFlightMax: 2 ** 20 };
    await using server = await startServer({ m: { 1: halfPlus(2) } }, { limits });
    const session = connect(`http://127.0.0.1:${server.server.grpcPort}`);
    const streams = Array.from({ length: 8 }, () => open(session));
    for (const stream of streams) stream.write(beginning(2 ** 30, 400_000));
    const closed = streams.map(rstCode);
    assert.equal(await Promise.race(closed), constants.NGHTTP2_ENHANCE_YOUR_CALM);
    await isAnswering(server);
    session.destroy();
  });

  it("bounds what compressed messages inflate to, each and all together, and inflates honest ones", async () => {
    const limits = { messageBytesInFlightMax: 2 ** 20 };
    await using server = await startServer({ m: { 1: halfPlus(2) } }, { limits });
    const session = connect(`http://127.0.0.1:${server.server.grpcPort}`);
    const send = (message: Buffer, encoding: string) => {
      const stream = open(session, { "grpc-encoding": encoding });
      stream.end(compressedMessage(message));
      return answerOf(stream);
    };
    assert.equal(await send(gzipSync(REQUEST), "gzip"), "0: OK");
    assert.equal(await send(deflateSync(REQUEST), "deflate"), "0: OK");
    assert.match(
      await send(gzipSync(Buffer.alloc(2 ** 21)), "gzip"),
      /^8: compressed messages under way inflate to more/,
    );
    const bombs = Array.from({ length: 10 }, () => send(gzipSync(Buffer.alloc(700_000)), "gzip"));
    const ends = await Promise.all(bombs);
    assert.ok(
      ends.some((end) => end.startsWith("8: compressed messages")),
      ends.join("; "),
    );
    assert.match(
      await send(Buffer.from("no gzip"), "gzip"),
      /^13: the message is no valid gzip: incorrect header check/,
    );
    assert.match(await send(Buffer.from(REQUEST), "br"), /^12: /);
    assert.equal(await send(gzipSync(REQUEST), "gzip"), "0: OK", "what was refused is given back");
    session.destroy();
  });

  it("counts what a compressed message inflates to until its request has ended or its client is gone", async () => {
    const limits = { messageBytesInFlightMax: 2 ** 20 };
    await using server = await startServer({ m: { 1: halfPlus(2) } }, { limits });
    const session = connect(`http://127.0.0.1:${server.server.grpcPort}`);
    const begin = (bytes: number) => {
      const stream = open(session, { "grpc-encoding": "gzip" });
      stream.write(compressedMessage(gzipSync(Buffer.alloc(bytes))));
      return stream;
    };
    const isSmallRefused = async () => (await answerOf(begin(60_000).end())).startsWith("8: compressed messages");
    /** Holds nearly all that may be. */
    const beginLarge = async () => {
      const stream = begin(1_000_000);
      await sleep(200); // were it inflated side by side with a small one, it could be the one that is refused
      for (let tries = 0; !(await isSmallRefused()); tries++) assert.ok(tries < 100, "a message that is kept counts");
      return stream;
    };
    const ended = await beginLarge();
    assert.match(await answerOf(ended.end()), /^3: /, "zeros are no request");
    assert.equal(await isSmallRefused(), false, "the request ended");
    const gone = await beginLarge();
    gone.close(constants.NGHTTP2_CANCEL);
    while (await isSmallRefused()); // the server may notice a little later that the client is gone
    session.destroy();
  });

  it("inflates nothing more of a call that its deadline has ended", async () => {
    const limits = { messageBytesInFlightMax: 2 ** 24 };
    await using server = await startServer({ m: { 1: halfPlus(2) } }, { limits });
    const session = connect(`http://127.0.0.1:${server.server.grpcPort}`);
    const late = open(session, { "grpc-encoding": "gzip", "grpc-timeout": "1m" });
    const answered = once(late, "response") as Promise<[IncomingHttpHeaders]>;
    late.write(compressedMessage(gzipSync(Buffer.alloc(15 * 2 ** 20))));
    assert.equal((await answered)[0]["grpc-status"], "4");
    const ends = new Set<string>();
    for (let tries = 0; tries < 20; tries++) {
      const other = open(session, { "grpc-encoding": "gzip" });
      const end = answerOf(other.end(compressedMessage(gzipSync(Buffer.alloc(2 ** 21)))));
      ends.add((await end).slice(0, 2));
      await sleep(20);
    }
    session.destroy();
    assert.deepEqual([...ends], ["3:"], "the late one would fill nearly all, for it is never ended");
  });

  it("refuses streams beyond the bound, over all connections, and takes new ones when others have gone", async () => {
    await using server = await startServer({ m: { 1: halfPlus(2) } }, { limits: { grpcStreamsMax: 20 } });
    const sockets = [1, 2].map(() => connectTcp(server.server.grpcPort, "127.0.0.1"));
    const sessions = sockets.map((socket) => connect("http://127.0.0.1", { createConnection: () => socket }));
    for (const session of sessions) session.on("error", () => undefined);
    const streams = Array.from({ length: 30 }, (_, i) => open(sessions[i % 2]!));
    for (const stream of streams) stream.write(beginning(1000, 1));
    let refused = 0;
    await new Promise<void>((resolve) => {
      for (const stream of streams) {
        stream.once("close", () => {
          if (stream.rstCode === constants.NGHTTP2_REFUSED_STREAM && ++refused === 10) resolve();
        });
      }
    });
    for (const socket of sockets) socket.destroy();
    // The server may notice a little later that they are gone.
    for (let isIn = false; !isIn; ) {
      isIn = await isAnswering(server).then<boolean, boolean>(
        () => true,
        () => new Promise((resolve) => setTimeout(() => resolve(false), 10)),
      );
    }
  });

  for (const [name, flood] of [
    ["PING", frame(6, 0, 0, Buffer.alloc(8))],
    ["SETTINGS", frame(4, 0, 0, Buffer.from([0, 4, 0, 1, 0, 0]))],
  ] as const) {
    it(`hangs up on a client that floods it with ${name} and reads no answer`, async () => {
      await using server = await startServer({ m: { 1: halfPlus(2) } });
      const socket = connectTcp(server.server.grpcPort, "127.0.0.1");
      const closed = hungUp(socket);
      socket.pause();
      socket.write(PREFACE);
      const batch = Buffer.concat(Array.from({ length: 4096 }, () => flood));
      let isOpen = true;
      void closed.then(() => (isOpen = false));
      while (isOpen) {
        if (!socket.write(batch)) await Promise.race([once(socket, "drain").catch(() => undefined), closed]);
        await isAnswering(server);
      }
    });
  }

  it("hangs up on headers that never end", async () => {
    await using server = await startServer({ m: { 1: halfPlus(2) } });
    const socket = connectTcp(server.server.grpcPort, "127.0.0.1");
    const closed = hungUp(socket);
    socket.resume();
    socket.write(PREFACE);
    // Literal header fields without indexing: 0x00, name, value.
    const field = Buffer.concat([Buffer.from([0, 1, 0x78, 100]), Buffer.alloc(100, "v")]);
    const block = Buffer.concat(Array.from({ length: 100 }, () => field));
    socket.write(frame(1, 0, 1, block));
    let isOpen = true;
    void closed.then(() => (isOpen = false));
    while (isOpen) {
      socket.write(frame(9, 0, 1, block));
      await isAnswering(server);
    }
  });

  it("answers others while streams are opened and reset at once", async () => {
    await using server = await startServer({ m: { 1: halfPlus(2) } });
    const session = connect(`http://127.0.0.1:${server.server.grpcPort}`);
    session.on("error", () => undefined); // hanging up is one way to bear it
    for (let round = 0; round < 20 && !session.closed && !session.destroyed; round++) {
      for (let i = 0; i < 100; i++) open(session).close(constants.NGHTTP2_CANCEL);
      await isAnswering(server);
    }
    session.destroy();
    assert.equal(server.server.inFlight, 0);
  });
});
