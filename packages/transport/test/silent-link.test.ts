import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { seededRandom, systemClock } from "@shardserve/core";
import { eventually, TcpProxy } from "@shardserve/testkit";
import { type Address, FRAME, FramedClient, FramedServer, parseAddress, type TransportLimits } from "../src/index.js";

/** No idle ping ends anything here. */
const LIMITS: Partial<TransportLimits> = { pingIntervalMs: 600_000, doubtMs: 40, doubtReplyMs: 60 };

/** A server that counts the connections that it greeted, and a client that reaches it through a proxy. */
class Link implements AsyncDisposable {
  greetedCount = 0;
  dialledCount = 0;
  readonly server: FramedServer;
  readonly proxy: TcpProxy;
  readonly client: FramedClient;

  static async open(limits: Partial<TransportLimits> = LIMITS): Promise<Link> {
    const server = new FramedServer({
      peer: "server",
      listen: [parseAddress("127.0.0.1:0")],
      calls: { greet: () => ++link.greetedCount },
      lookup: (exchange) => exchange.reply(FRAME.ROWS, [exchange.payload]),
    });
    await server.start();
    const proxy = await TcpProxy.start(server.addresses[0] as { host: string; port: number });
    const client: FramedClient = new FramedClient({
      address: () => {
        link.dialledCount++;
        return { host: "127.0.0.1", port: proxy.port };
      },
      peer: "client",
      limits,
      backoff: { firstMs: 10, maxMs: 40 },
      random: seededRandom(1),
      handshake: async (session) => void (await session.call("greet", null)),
    });
    const link = new Link(server, proxy, client);
    await client.start();
    await client.whenReady();
    return link;
  }

  private constructor(server: FramedServer, proxy: TcpProxy, client: FramedClient) {
    this.server = server;
    this.proxy = proxy;
    this.client = client;
  }

  async lookup(timeoutMs: number): Promise<void> {
    const reply = await this.client.lookup(new Uint8Array(32), { deadlineMs: systemClock.nowMs() + timeoutMs });
    reply.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
    await this.proxy.stop();
    await this.server.close();
  }
}

describe("a link that swallows what is sent", () => {
  it("is replaced after a request was lost on it, although no other is sent", async () => {
    await using link = await Link.open();
    await link.lookup(20_000);
    link.proxy.strand();
    await assert.rejects(link.lookup(1), { code: "DEADLINE_EXCEEDED" });
    await eventually(() => link.greetedCount === 2);
    await eventually(() => link.server.connectionCount === 1);
    await link.lookup(20_000);
    assert.equal(link.greetedCount, 2);
  });

  it("fails a request that waits on it as soon as another connection answers, long before its deadline", async () => {
    await using link = await Link.open();
    link.proxy.strand();
    await assert.rejects(link.lookup(600_000), { code: "UNAVAILABLE", message: /was silent; a new one answered/ });
    assert.equal(link.client.isReady, true);
    await link.lookup(20_000);
  });

  it("stays as it is while nothing is asked of it", async () => {
    await using link = await Link.open({ ...LIMITS, doubtMs: 1, doubtReplyMs: 1 });
    link.proxy.strand();
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(link.greetedCount, 1);
  });

  it("makes one connection at a time, and keeps the old one with its requests when the server comes to life", async () => {
    await using link = await Link.open({ ...LIMITS, handshakeTimeoutMs: 600_000 });
    link.proxy.setDelay(1_000); // everything arrives, late
    await link.lookup(600_000);
    assert.equal(link.dialledCount, 2);
    await eventually(() => link.server.connectionCount === 1);
    assert.equal(link.greetedCount, 1);
  });

  it("gives up an attempt that the network does not take, and tries anew", async () => {
    await using full = await FullQueue.start();
    await using client = new FramedClient({
      address: full.address,
      peer: "client",
      limits: { connectTimeoutMs: 50, handshakeTimeoutMs: 600_000 },
      backoff: { firstMs: 5, maxMs: 10 },
      random: seededRandom(1),
    });
    await client.start();
    await eventually(() => client.lastError !== undefined);
    assert.match(client.lastError?.message ?? "", /no connection within 50 ms/);
  });
});

/** A port whose queue of connections is full: as with a lost network, more are not even refused. */
class FullQueue implements AsyncDisposable {
  readonly address: Address;
  readonly #worker: Worker;
  readonly #sockets: readonly Socket[];

  static async start(): Promise<FullQueue> {
    const source = `
      const { parentPort } = require("node:worker_threads");
      const server = require("node:net").createServer().listen({ host: "127.0.0.1", port: 0, backlog: 1 }, () => {
        parentPort.postMessage(server.address().port);
        setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
      });`;
    const worker = new Worker(source, { eval: true });
    const [port] = (await once(worker, "message")) as [number];
    const sockets = Array.from({ length: 8 }, () => connect(port, "127.0.0.1").on("error", () => undefined));
    await eventually(() => sockets.filter((socket) => !socket.connecting).length >= 2);
    return new FullQueue({ host: "127.0.0.1", port }, worker, sockets);
  }

  private constructor(address: Address, worker: Worker, sockets: readonly Socket[]) {
    this.address = address;
    this.#worker = worker;
    this.#sockets = sockets;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await this.#worker.terminate();
  }
}
