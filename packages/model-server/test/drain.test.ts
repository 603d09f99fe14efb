import assert from "node:assert/strict";
import { Agent, request as httpRequest } from "node:http";
import { status } from "@grpc/grpc-js";
import { create, fromBinary, HealthCheckRequestSchema, HealthCheckResponseSchema, toBinary } from "@shardserve/api";
import { tensor } from "@shardserve/tensor";
import { eventually } from "@shardserve/testkit";
import { callRaw, failureOf, PREDICT, predict, predictRequest, startServer, type TestServer } from "./harness.js";
import { FunctionModel } from "./models.js";

const x = tensor("float32", [1, 1], Float32Array.of(2));

/** Answers after a while, or when its request is aborted. */
function slowModel(delayMs: number): FunctionModel {
  return new FunctionModel({
    serving_default: {
      inputs: { x: { dtype: "float32", shape: [-1, 1] } },
      outputs: { y: { dtype: "float32", shape: [-1, 1] } },
      run: (inputs, { signal }) =>
        new Promise((resolve, reject) => {
          const timer = setTimeout(() => resolve({ y: inputs.get("x")! }), delayMs);
          signal?.addEventListener("abort", () => {
            clearTimeout(timer);
            reject(signal.reason as Error);
          });
        }),
    },
  });
}

/** Answers once the gate is open. */
function gatedModel(gate: Promise<void>): FunctionModel {
  return new FunctionModel({
    serving_default: {
      inputs: { x: { dtype: "float32", shape: [-1, 1] } },
      outputs: { y: { dtype: "float32", shape: [-1, 1] } },
      run: async (inputs) => {
        await gate;
        return { y: inputs.get("x")! };
      },
    },
  });
}

function post(port: number, agent: Agent): Promise<{ status: number; connection: string | undefined }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { port, host: "127.0.0.1", agent, method: "POST", path: "/v1/models/m:predict" },
      (response) => {
        response.resume();
        response.on("end", () => resolve({ status: response.statusCode!, connection: response.headers.connection }));
      },
    );
    request.on("error", reject);
    request.end('{"instances": [[1]]}');
  });
}

describe("drain", () => {
  it("answers everything that was under way, and closes quickly", async () => {
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    const server = await startServer({ m: { 1: gatedModel(gate) } });
    const agent = new Agent({ keepAlive: true });
    const calls = Array.from({ length: 20 }, () => predict(server.client, { x }));
    const posts = Array.from({ length: 20 }, () => post(server.server.restPort, agent));
    while (server.server.inFlight < 40) await new Promise((resolve) => setTimeout(resolve, 1));
    const startMs = performance.now();
    const closing = server.server.close({ drainMs: 10_000 });
    open();
    for (const reply of await Promise.all(calls)) assert.deepEqual(reply.outputs["y"], x);
    // Kept alive, the connection would be used once more and lost with that request.
    for (const reply of await Promise.all(posts)) assert.deepEqual(reply, { status: 200, connection: "close" });
    await closing;
    assert.ok(performance.now() - startMs < 8_000, "connections without requests do not hold the drain up");
    agent.destroy();
    server.client.close();
    await server.manager.close();
  });

  it("loses no request of clients that turn to another server when told to", async function () {
    this.timeout(60_000);
    const model = slowModel(5);
    // Long enough for the balancer and for every client's turn, however slow the machine.
    const first = await startServer({ m: { 1: model } }, { drainDelayMs: 3000 });
    const second = await startServer({ m: { 1: model } });
    let isMoved = false;
    let isDone = false;
    const answers = new Map([
      [first, 0],
      [second, 0],
    ]);
    // A balancer that asks for health: it goes on sending to the first server for up to 20 ms after NOT_SERVING.
    const balancer = (async () => {
      while (!isMoved) {
        const ready = await fetch(`${first.baseUrl}/readyz`).catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, 20));
        isMoved = ready?.status !== 200;
      }
    })();
    const agent = new Agent({ keepAlive: true });
    const client = async () => {
      while (!isDone) {
        const server = isMoved ? second : first;
        await predict(server.client, { x });
        assert.equal((await post(server.server.restPort, agent)).status, 200);
        answers.set(server, answers.get(server)! + 1);
      }
    };
    const clients = Array.from({ length: 10 }, client);
    const answersOf = (server: TestServer) =>
      eventually(() => assert.ok(answers.get(server)! >= 50, `${answers.get(server)} answers`), { timeoutMs: 20_000 });
    await answersOf(first);
    await first.server.close({ drainMs: 10_000 });
    await balancer;
    await answersOf(second);
    isDone = true;
    await Promise.all(clients);
    agent.destroy();
    await first[Symbol.asyncDispose]();
    await second[Symbol.asyncDispose]();
  });

  it("reports NOT_SERVING first", async () => {
    const server = await startServer({ m: { 1: slowModel(1) } }, { drainDelayMs: 200 });
    const statuses: number[] = [];
    const watch = server.client.makeServerStreamRequest(
      "/grpc.health.v1.Health/Watch",
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      Buffer.from(toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema, {}))),
    );
    watch.on("data", (bytes: Buffer) => statuses.push(fromBinary(HealthCheckResponseSchema, bytes).status));
    watch.on("error", () => undefined);
    while (statuses.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    const closing = server.server.close({ drainMs: 1000 });
    assert.equal((await fetch(`${server.baseUrl}/readyz`)).status, 503);
    assert.equal((await fetch(`${server.baseUrl}/healthz`)).status, 200);
    assert.deepEqual((await predict(server.client, { x })).outputs["y"], x);
    await closing;
    assert.deepEqual(statuses, [1, 2]);
    server.client.close();
    await server.manager.close();
  });

  it("aborts what is left when the time is over", async () => {
    const server = await startServer({ m: { 1: slowModel(60_000) } });
    const agent = new Agent({ keepAlive: true });
    const call = failureOf(callRaw(server.client, PREDICT, predictRequest({ x })));
    const posted = post(server.server.restPort, agent);
    while (server.server.inFlight < 2) await new Promise((resolve) => setTimeout(resolve, 1));
    const startMs = performance.now();
    await server.server.close({ drainMs: 100 });
    assert.ok(performance.now() - startMs < 8_000);
    assert.match(await call, new RegExp(`^${status.UNAVAILABLE}: the server is shutting down`));
    assert.equal((await posted).status, 503);
    agent.destroy();
    server.client.close();
    await server.manager.close();
  });

  it("ends a reflection stream at once, and a call that never becomes whole when the time is over", async () => {
    const bytes = (body: Buffer) => body;
    const server = await startServer({ m: { 1: slowModel(1) } });
    const path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    const reflection = server.client.makeBidiStreamRequest<Buffer, Buffer>(path, bytes, bytes);
    reflection.write(Buffer.from([0x3a, 0])); // list_services
    await new Promise((resolve) => reflection.once("data", resolve));
    const reflected = new Promise((resolve) => reflection.once("status", ({ code }) => resolve(code)));
    const stuck = new Promise((resolve) => {
      const call = server.client.makeClientStreamRequest<Buffer, Buffer>(PREDICT, bytes, bytes, (error) =>
        resolve(error?.code),
      );
      call.write(Buffer.from(predictRequest({ x }))); // and never ended
    });
    await predict(server.client, { x }); // on the same connection: the calls above have begun
    await server.server.close({ drainMs: 500 });
    assert.equal(await reflected, status.OK);
    assert.equal(await stuck, status.UNAVAILABLE);
    server.client.close();
    await server.manager.close();
  });

  it("closes idle keep-alive connections and refuses new ones", async () => {
    const server = await startServer({ m: { 1: slowModel(1) } });
    const agent = new Agent({ keepAlive: true });
    const port = server.server.restPort;
    assert.equal((await post(port, agent)).status, 200);
    const startMs = performance.now();
    await server.server.close({ drainMs: 10_000 });
    assert.ok(performance.now() - startMs < 8_000);
    await assert.rejects(post(port, agent));
    assert.match(await failureOf(predict(server.client, { x })), /^14: /);
    agent.destroy();
    server.client.close();
    await server.manager.close();
  });

  it("a second server on the same port fails to start and says why", async () => {
    await using server = await startServer({ m: { 1: slowModel(1) } });
    await assert.rejects(
      startServer({ m: { 1: slowModel(1) } }, { restPort: server.server.restPort }),
      /cannot serve REST on 127\.0\.0\.1:\d+: .*EADDRINUSE/,
    );
  });
});
