import assert from "node:assert/strict";
import { connect } from "node:net";
import { join } from "node:path";
import { isServingError, seededRandom, ServingError, silentLogger, systemClock, sleep } from "@shardserve/core";
import { eventually, tempDir } from "@shardserve/testkit";
import {
  type Address,
  createLookupRequest,
  type Exchange,
  FRAME,
  BufferPool,
  FramedClient,
  FramedServer,
  type FramedServerOptions,
  HEADER_BYTES,
  parseAddress,
  readLookupRequest,
  writeHeader,
} from "../src/index.js";

const LOOPBACK = parseAddress("127.0.0.1:0");
const FAST = { firstMs: 5, maxMs: 20 };

async function serve(options: Partial<FramedServerOptions>): Promise<FramedServer> {
  const server = new FramedServer({ peer: "test-server", listen: [LOOPBACK], ...options });
  await server.start();
  return server;
}

async function connectTo(server: FramedServer | Address, options: object = {}): Promise<FramedClient> {
  const address = server instanceof FramedServer ? (server.addresses[0] as Address) : server;
  const client = new FramedClient({ address, peer: "test-client", backoff: FAST, random: seededRandom(1), ...options });
  await client.start();
  return client;
}

const echo = (exchange: Exchange) => exchange.reply(FRAME.ROWS, [exchange.payload]);

describe("framed client and server", () => {
  it("calls methods over TCP and over a Unix socket", async () => {
    await using folder = await tempDir();
    const unix = { path: join(folder.path, "s.sock") };
    await using server = await serve({
      listen: [LOOPBACK, unix],
      calls: { add: (params) => (params as number[])[0]! + 1 },
    });
    for (const address of server.addresses) {
      await using client = await connectTo(address);
      const answers = await Promise.all([1, 2, 3].map((n) => client.call("add", [n])));
      assert.deepEqual(answers, [2, 3, 4]);
    }
  });

  it("gives the memory of an answer that nobody waits for any more back to the pool", async () => {
    const replyBytes = 2 ** 21; // more than what a socket is read into
    await using server = await serve({ lookup: (exchange) => exchange.reply(FRAME.ROWS, [Buffer.alloc(replyBytes)]) });
    const pool = new BufferPool();
    await using client = await connectTo(server, { pool });
    await client.whenReady();
    const { payload } = createLookupRequest({ channel: 1, remainingMs: 0, generation: 0, epoch: 0 }, [1], [1]);
    const unasked = () => assert.fail("it was given up");
    client.ask(payload, {}, unasked, unasked)(); // the server reads both at once, and answers before it reads the second
    await eventually(() => Promise.resolve(assert.ok(pool.retainedBytes >= replyBytes)));
  });

  it("says once why it is not connected, however often it tries", async () => {
    const lines: string[] = [];
    const note = (level: string) => (_fields: object, message: string) => void lines.push(`${level} ${message}`);
    const logger = { ...silentLogger, debug: note("debug"), info: note("info") };
    await using server = await serve({});
    let target: Address = { host: "127.0.0.1", port: 1 };
    await using client = new FramedClient({ address: () => target, peer: "test-client", backoff: FAST, logger });
    await client.start();
    const untilMs = systemClock.nowMs() + 5_000;
    const repeated = () => lines.filter((line) => line === "debug reconnecting later").length;
    while (repeated() < 3 && systemClock.nowMs() < untilMs) await sleep(systemClock, 5);
    assert.ok(repeated() >= 3);
    target = server.addresses[0] as Address;
    await client.whenReady();
    const news = lines.filter((line) => line.startsWith("info"));
    assert.deepEqual(news, ["info reconnecting later", "info connected again"]);
  });

  it("carries a handler's error with its code and message", async () => {
    await using server = await serve({
      calls: {
        fail: () => {
          throw new ServingError("EPOCH_MISMATCH", "epoch 3 is not epoch 4");
        },
      },
    });
    await using client = await connectTo(server);
    await assert.rejects(client.call("fail", null), { code: "EPOCH_MISMATCH", message: "epoch 3 is not epoch 4" });
    await assert.rejects(client.call("absent", null), { code: "UNIMPLEMENTED" });
  });

  it("keeps many lookups in flight and matches answers that come in another order", async () => {
    const waiting: Exchange[] = [];
    await using server = await serve({
      lookup: (exchange) => {
        waiting.push(exchange);
        if (waiting.length === 100) for (const each of waiting.reverse()) echo(each);
      },
    });
    await using client = await connectTo(server);
    await client.whenReady();
    const replies = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const header = { channel: i, remainingMs: 0, generation: 0, epoch: 0 };
        const { payload, words, idsAt } = createLookupRequest(header, [1], [i]);
        words.fill(i, idsAt);
        const reply = await client.lookup(payload, {});
        const { channel, ids: back } = readLookupRequest(reply.bytes);
        reply.release();
        return channel === i && back.length === i;
      }),
    );
    assert.ok(replies.every(Boolean));
  });

  it("carries payloads of megabytes unchanged", async () => {
    await using server = await serve({ lookup: echo });
    await using client = await connectTo(server);
    await client.whenReady();
    for (const size of [1, 4096, 4097, 65_536, 5_000_003]) {
      const payload = Uint8Array.from({ length: size }, (_, i) => (i * 7) & 255);
      const reply = await client.lookup(payload, {});
      assert.ok(Buffer.from(payload).equals(reply.bytes), `${size} bytes`);
      reply.release();
    }
  });

  it("gives the payloads of requests back to its pool, joined ones and large ones", async () => {
    await using server = await serve({ lookup: echo });
    const pool = new BufferPool();
    await using client = await connectTo(server, { pool });
    await client.whenReady();
    for (const size of [8192, 5_000_003]) {
      const payload = pool.acquire(size).fill(7);
      const reply = await client.lookup(payload, {});
      assert.ok(reply.bytes.every((byte) => byte === 7));
      reply.release(); // it may lie where the request lay
      await eventually(() => pool.users(payload) === 0);
    }
  });

  it("refuses the request above the in-flight limit at once", async () => {
    await using server = await serve({ limits: { inFlightMax: 4 }, lookup: () => undefined });
    await using client = await connectTo(server);
    await client.whenReady();
    const open = Array.from({ length: 4 }, () =>
      client.lookup(new Uint8Array(32), {}).catch((error: unknown) => error),
    );
    await assert.rejects(client.lookup(new Uint8Array(32), {}), { code: "RESOURCE_EXHAUSTED" });
    await client.close();
    for (const error of await Promise.all(open)) assert.ok(isServingError(error, "UNAVAILABLE"));
  });

  it("enforces deadlines at the client and tells the server", async () => {
    let seen: Exchange | undefined;
    await using server = await serve({
      lookup: (exchange) => {
        seen = exchange;
      },
    });
    await using client = await connectTo(server);
    await client.whenReady();
    const startMs = systemClock.nowMs();
    await assert.rejects(client.lookup(new Uint8Array(32), { deadlineMs: startMs + 30 }), {
      code: "DEADLINE_EXCEEDED",
    });
    assert.equal(client.inFlight, 0);
    await eventually(() => seen?.isCancelled === true && server.inFlight === 0);
    await assert.rejects(client.lookup(new Uint8Array(0), { deadlineMs: startMs }), { code: "DEADLINE_EXCEEDED" });
  });

  it("cancels with the caller's signal and its reason", async () => {
    let isCalled = false;
    let aborted = false;
    await using server = await serve({
      calls: {
        hang: (_, { signal }) =>
          new Promise((_resolve, reject) => {
            isCalled = true;
            signal.addEventListener("abort", () => {
              aborted = true;
              reject(signal.reason as Error);
            });
          }),
      },
    });
    await using client = await connectTo(server);
    const abort = new AbortController();
    const call = client.call("hang", null, { signal: abort.signal });
    await eventually(() => isCalled);
    abort.abort(new Error("enough"));
    await assert.rejects(call, /enough/);
    await eventually(() => aborted);
  });

  it("streams pushes and stops the handler when the reader leaves", async () => {
    let stopped = false;
    await using server = await serve({
      streams: {
        count: async (params, { push, signal }) => {
          for (let i = 0; i < (params as number) && !signal.aborted; i++) {
            push({ i });
            if (i % 10 === 9) await sleep(systemClock, 1);
          }
          stopped = signal.aborted;
        },
      },
    });
    await using client = await connectTo(server);
    const items: unknown[] = [];
    for await (const item of client.stream("count", 25)) items.push(item);
    assert.deepEqual(
      items,
      Array.from({ length: 25 }, (_, i) => ({ i })),
    );
    for await (const item of client.stream("count", 1e9)) if ((item as { i: number }).i === 30) break;
    await eventually(() => stopped);
  });

  it("connects again after the server came back, and fails what was in flight", async () => {
    const first = await serve({ lookup: () => undefined });
    const address = first.addresses[0] as Address;
    await using client = await connectTo(address);
    await client.whenReady();
    const lost = client.lookup(new Uint8Array(32), {});
    await Promise.all([assert.rejects(lost, { code: "UNAVAILABLE" }), first.close()]);
    await assert.rejects(client.lookup(new Uint8Array(0), {}), { code: "UNAVAILABLE" });
    await using second = await serve({ listen: [address], calls: { hello: () => "again" } });
    assert.equal(await client.call("hello", null, { deadlineMs: systemClock.nowMs() + 5_000 }), "again");
    assert.equal(second.connectionCount, 1);
  });

  it("drains: finishes what is in flight, refuses what comes after", async () => {
    let pending: Exchange | undefined;
    const server = await serve({
      lookup: (exchange) => {
        pending = exchange;
      },
    });
    await using client = await connectTo(server);
    await client.whenReady();
    const reply = client.lookup(new Uint8Array(40), {});
    await eventually(() => pending !== undefined);
    const closing = server.close({ drainMs: 20_000 });
    await eventually(() => !client.isReady);
    await assert.rejects(client.lookup(new Uint8Array(0), {}), { code: "UNAVAILABLE" });
    echo(pending as Exchange);
    assert.equal((await reply).bytes.length, 40);
    await closing;
  });

  it("runs the handshake on every connection and refuses a server that fails it", async () => {
    await using server = await serve({ calls: { who: () => "shard-7" } });
    let attempts = 0;
    await using client = await connectTo(server, {
      handshake: async (session: { call(method: string, params: unknown): Promise<unknown> }) => {
        attempts += 1;
        const who = await session.call("who", null);
        throw new ServingError("DIGEST_MISMATCH", `${String(who)} holds other bytes`);
      },
    });
    await eventually(() => attempts >= 2);
    await assert.rejects(client.whenReady({ deadlineMs: systemClock.nowMs() + 100 }), { code: "DIGEST_MISMATCH" });
    assert.equal(client.isReady, false);
  });

  it("closes a connection that breaks the format, and keeps the others", async () => {
    await using server = await serve({ calls: { ping: () => 1 } });
    await using client = await connectTo(server);
    await client.whenReady();
    const { port } = server.addresses[0] as { port: number };
    for (const bytes of [Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n"), hostileLength(), Buffer.alloc(64)]) {
      const answer = await talk(port, bytes);
      assert.match(answer, /FRAME_INVALID/);
    }
    assert.equal(await client.call("ping", null), 1);
    assert.equal(server.connectionCount, 1);
  });

  it("refuses connections above the limit", async () => {
    await using server = await serve({ limits: { connectionsMax: 1 }, calls: { ping: () => 1 } });
    await using client = await connectTo(server);
    await client.whenReady();
    assert.equal(await talk((server.addresses[0] as { port: number }).port, Buffer.alloc(0)), "");
  });

  it("stops reading from a peer that does not read, and drops it in the end", async () => {
    let served = 0;
    await using server = await serve({
      limits: { writeBytesHigh: 2 ** 20, stallTimeoutMs: 150 },
      lookup: (exchange) => {
        served += 1;
        exchange.reply(FRAME.ROWS, [new Uint8Array(2 ** 20)]);
      },
    });
    const socket = connect((server.addresses[0] as { port: number }).port, "127.0.0.1");
    socket.pause();
    socket.on("error", () => undefined);
    socket.write(rawFrame(FRAME.HELLO, 0, Buffer.from("82a870726f746f636f6c01a470656572a178", "hex")));
    for (let id = 1; id <= 500; id++) {
      socket.write(rawFrame(FRAME.LOOKUP, id, new Uint8Array(32)));
      if (id % 20 === 0) await sleep(systemClock, 1);
    }
    assert.ok(served < 100, `${served} replies of 1 MiB were made for a peer that reads none`);
    await eventually(() => server.connectionCount === 0);
    socket.destroy();
  });
});

function rawFrame(type: number, requestId: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + payload.length);
  writeHeader(new DataView(bytes.buffer, bytes.byteOffset), 0, type, 0, requestId, payload.length);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

function hostileLength(): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  writeHeader(new DataView(bytes.buffer, bytes.byteOffset), 0, FRAME.HELLO, 0, 0, 0xffff_ffff);
  return bytes;
}

function talk(port: number, bytes: Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(port, "127.0.0.1", () => void socket.write(bytes));
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(text));
  });
}
