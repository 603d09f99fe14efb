import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { create, TensorProtoSchema, toBinary } from "@shardserve/api";
import { ManualClock, ServingError, silentLogger } from "@shardserve/core";
import { tensor } from "@shardserve/tensor";
import type { ServiceError } from "@grpc/grpc-js";
import { Batcher } from "../src/batching/batcher.js";
import { type BatchingOptions, DEFAULT_BATCHING } from "../src/batching/options.js";
import { callRaw, PREDICT, predictRequest, startManager, startServer } from "./harness.js";
import { FunctionModel, halfPlus } from "./models.js";

const DEADLINE_MS = 500;

/** A model whose runs take a time of the clock; a fixed batch dimension keeps requests apart. */
function timedModel(wait: (rows: number) => Promise<void>, isJoinable: boolean): FunctionModel {
  const spec = { dtype: "float32", shape: [isJoinable ? -1 : 1] } as const;
  return new FunctionModel({
    serving_default: {
      inputs: { x: spec },
      outputs: { y: spec },
      run: async (inputs) => {
        const x = inputs.get("x")!;
        await wait(x.shape[0]!);
        return { y: x };
      },
    },
  });
}

interface Outcome {
  /** Answered within their deadline. */
  good: number;
  /** Refused, and at most how long after they came. */
  refused: number;
  slowestRefusalMs: number;
  late: number;
  longestQueue: number;
}

/** Simulated time: requests come evenly, `perSecond` of them, for `seconds`. */
async function simulate(
  model: (clock: ManualClock) => FunctionModel,
  options: Partial<BatchingOptions>,
  phases: readonly { readonly perSecond: number; readonly seconds: number }[],
): Promise<Outcome[]> {
  const clock = new ManualClock();
  const manager = await startManager({ m: { 1: model(clock) } });
  using handle = manager.handle({ name: "m" });
  const signature = handle.model.signatures.get("serving_default")!;
  const batcher = new Batcher({
    batching: { ...DEFAULT_BATCHING, ...options },
    clock,
    logger: silentLogger,
    onRun: () => undefined,
  });
  const inputs = new Map([["x", tensor("float32", [1], Float32Array.of(1))]]);
  let under = 0;
  const send = (outcome: Outcome) => {
    const startMs = clock.nowMs();
    const deadlineMs = startMs + DEADLINE_MS;
    const abort = new AbortController();
    const cancel = clock.after(DEADLINE_MS, () => abort.abort(new ServingError("DEADLINE_EXCEEDED", "late")));
    outcome.longestQueue = Math.max(outcome.longestQueue, ++under);
    void batcher
      .run({ handle, signature, inputs, outputs: undefined, signal: abort.signal, deadlineMs })
      .then(
        () => (clock.nowMs() <= deadlineMs ? outcome.good++ : outcome.late++),
        (error: ServingError) => {
          if (error.status !== "UNAVAILABLE") return void outcome.late++;
          outcome.refused++;
          outcome.slowestRefusalMs = Math.max(outcome.slowestRefusalMs, clock.nowMs() - startMs);
        },
      )
      .finally(() => {
        under--;
        cancel();
      });
  };
  const outcomes: Outcome[] = [];
  for (const { perSecond, seconds } of phases) {
    const outcome: Outcome = { good: 0, refused: 0, slowestRefusalMs: 0, late: 0, longestQueue: 0 };
    outcomes.push(outcome);
    let due = 0;
    for (let ms = 0; ms < seconds * 1000; ms++) {
      for (due += perSecond / 1000; due >= 1; due--) send(outcome);
      clock.advance(1);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  await manager.close();
  return outcomes;
}

const lasting = (ms: (rows: number) => number, isJoinable: boolean) => (clock: ManualClock) =>
  timedModel((rows) => new Promise((resolve) => clock.after(ms(rows), resolve)), isJoinable);

describe("overload", function () {
  this.timeout(60_000);

  /** Capacity by hand: four runs at once. */
  const cases = [
    { what: "requests that run alone, 20 ms each", model: lasting(() => 20, false), capacity: 4 * 50 },
    { what: "joined requests, 2 ms a row", model: lasting((rows) => 2 * rows, true), capacity: 4 * 500 },
    {
      what: "joined requests, 40 ms and 0.25 ms a row",
      model: lasting((rows) => 40 + rows / 4, true),
      capacity: 4 * 2400,
    },
  ];
  for (const { what, model, capacity } of cases) {
    it(`at three times the capacity answers 80 % of it, refuses the rest at once, and recovers: ${what}`, async () => {
      const [, warm, flood, calm] = await simulate(model, {}, [
        { perSecond: capacity / 20, seconds: 2 }, // a new version joins only what it has proved
        { perSecond: capacity / 2, seconds: 1 },
        { perSecond: capacity * 3, seconds: 3 },
        { perSecond: capacity / 2, seconds: 3 },
      ]);

      // The step to half the capacity is sudden: runs grow to it in some tenths of a second.
      assert.ok(warm!.refused <= 0.03 * (capacity / 2), `${warm!.refused} refused below capacity`);

      assert.ok(flood!.good >= 0.8 * capacity * 3, `${flood!.good} good answers of ${capacity * 3}`);
      assert.ok(flood!.refused >= capacity * 3, `${flood!.refused} refused`);
      assert.ok(flood!.slowestRefusalMs <= 1, `refused after ${flood!.slowestRefusalMs} ms`);
      assert.ok(flood!.late <= 0.05 * flood!.good, `${flood!.late} expired`);
      assert.ok(flood!.longestQueue <= capacity * (DEADLINE_MS / 1000) * 1.5, `${flood!.longestQueue} under way`);
      assert.ok(calm!.good >= 0.8 * capacity * 1.5, `${calm!.good} answered afterwards`);
    });
  }

  it("without a target almost nothing is answered in time: the test can fail", async () => {
    const [, flood] = await simulate(
      lasting(() => 20, false),
      { targetLatencyMs: Number.POSITIVE_INFINITY },
      [
        { perSecond: 100, seconds: 1 },
        { perSecond: 600, seconds: 3 },
      ],
    );
    assert.equal(flood!.refused, 0);
    assert.ok(flood!.late > flood!.good);
  });

  it("keeps joined runs to about a tenth of the target", async () => {
    let largest = 0;
    const model = (clock: ManualClock) =>
      timedModel((rows) => {
        if (clock.nowMs() > 1000) largest = Math.max(largest, rows);
        return new Promise((resolve) => clock.after(rows, resolve));
      }, true);
    await simulate(model, { targetLatencyMs: 400 }, [{ perSecond: 12_000, seconds: 2 }]);
    assert.ok(largest >= 20 && largest <= 60, `${largest} rows of 1 ms with a target of 40 ms a run`);
  });

  it("holds over gRPC, against the capacity that was measured before", async () => {
    const model = timedModel(() => new Promise((resolve) => setTimeout(resolve, 100)), false);
    await using server = await startServer({ m: { 1: model } }, { batching: { targetLatencyMs: 1000 } });
    const request = predictRequest({ x: tensor("float32", [1], Float32Array.of(1)) });
    const codes = new Map<number, number>();
    const send = async (deadlineMs: number) => {
      const code = await callRaw(server.client, PREDICT, request, { deadlineMs }).then(
        () => 0,
        (error: ServiceError) => error.code,
      );
      codes.set(code, (codes.get(code) ?? 0) + 1);
    };
    let isMeasuring = true;
    const callers = Array.from({ length: 12 }, async () => {
      while (isMeasuring) await send(10_000);
    });
    await new Promise((resolve) => setTimeout(resolve, 2000));
    isMeasuring = false;
    await Promise.all(callers);
    const capacity = codes.get(0)! / 2;
    codes.clear();

    const sent: Promise<void>[] = [];
    const startMs = performance.now();
    for (let elapsed = 0; elapsed < 3000; elapsed = performance.now() - startMs) {
      while (sent.length < (elapsed / 1000) * capacity * 3) sent.push(send(10_000));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await Promise.all(sent);
    const good = codes.get(0) ?? 0;
    const refused = (codes.get(14) ?? 0) + (codes.get(8) ?? 0);
    assert.ok(
      good >= 0.8 * capacity * 2,
      `${good} answered in 2 s, ${capacity} a second alone; ${JSON.stringify([...codes])}`,
    );
    assert.ok(good + refused >= 0.95 * sent.length, JSON.stringify([...codes]));
    codes.clear();
    await Promise.all(Array.from({ length: 4 }, () => send(2000)));
    assert.equal(codes.get(0), 4, "and it has recovered");
  });
});

describe("clients that misbehave", function () {
  this.timeout(60_000);

  it("drops gRPC connections beyond the bound, and takes new ones when others have gone", async () => {
    await using server = await startServer({ m: { 1: halfPlus(2) } }, { limits: { grpcConnectionsMax: 2 } });
    const request = predictRequest({ x: tensor("float32", [1], Float32Array.of(1)) });
    await callRaw(server.client, PREDICT, request);
    // An HTTP/2 server speaks first: whoever hears it is in.
    const open = async () => {
      const socket: Socket = connect(server.server.grpcPort, "127.0.0.1");
      const isIn = await new Promise<boolean>((resolve) => {
        socket.once("data", () => resolve(true));
        socket.once("close", () => resolve(false));
        socket.on("error", () => undefined);
      });
      return { socket, isIn };
    };
    const second = await open();
    assert.ok(second.isIn);
    assert.ok(!(await open()).isIn);
    await callRaw(server.client, PREDICT, request);
    second.socket.destroy();
    // The server may notice a little later that the second one is gone.
    for (let isIn = false; !isIn; ) {
      const next = await open();
      isIn = next.isIn;
      next.socket.destroy();
    }
  });

  it("bounds the bytes of gRPC messages under way, and one of any size passes", async () => {
    let release: (() => void) | undefined;
    const model = timedModel(() => new Promise((resolve) => (release = resolve)), false);
    await using server = await startServer({ m: { 1: model } }, { limits: { messageBytesInFlightMax: 1000 } });
    const big = predictRequest({ x: tensor("float32", [1000], new Float32Array(1000)) });
    const small = predictRequest({ x: tensor("float32", [1], new Float32Array(1)) });
    const first = callRaw(server.client, PREDICT, big);
    while (!release) await new Promise((resolve) => setImmediate(resolve));
    await assert.rejects(callRaw(server.client, PREDICT, small), {
      code: 8,
      details: /messages under way exceed 1000 bytes/,
    });
    release();
    await first;
    release = undefined;
    const second = callRaw(server.client, PREDICT, small);
    while (!release) await new Promise((resolve) => setImmediate(resolve));
    (release as () => void)();
    await second;
  });

  it("bounds what tensors of one repeated value take, all together", async () => {
    let release: (() => void) | undefined;
    const model = timedModel(() => new Promise((resolve) => (release = resolve)), false);
    await using server = await startServer({ m: { 1: model } }, { limits: { messageBytesInFlightMax: 1_000_000 } });
    const ofRows = (rows: number) => {
      const dims = { dim: [{ size: BigInt(rows) }] };
      const one = create(TensorProtoSchema, { dtype: 1, tensorShape: dims, floatVal: [1] });
      return predictRequest({ x: toBinary(TensorProtoSchema, one) });
    };
    const refused = {
      code: 8,
      details: /requests under way would take more than 1000000 bytes beyond those that they sent/,
    };
    await assert.rejects(callRaw(server.client, PREDICT, ofRows(300_000)), refused);
    const first = callRaw(server.client, PREDICT, ofRows(150_000));
    while (!release) await new Promise((resolve) => setImmediate(resolve));
    await assert.rejects(callRaw(server.client, PREDICT, ofRows(150_000)), refused);
    release();
    await first;
    release = undefined;
    const second = callRaw(server.client, PREDICT, ofRows(150_000));
    while (!release) await new Promise((resolve) => setImmediate(resolve));
    (release as () => void)();
    await second;
  });

  for (const way of ["gRPC", "REST"]) {
    it(`counts what a run reads until it is over, also when its caller has gone: ${way}`, async () => {
      const releases: (() => void)[] = [];
      const model = timedModel(() => new Promise((resolve) => releases.push(resolve)), true);
      const limits = { messageBytesInFlightMax: 1000, bodyBytesInFlightMax: 1000 };
      await using server = await startServer({ m: { 1: model } }, { limits });
      const ask = async (signal: AbortSignal): Promise<string> => {
        if (way === "REST") {
          const body = JSON.stringify({ instances: Array.from({ length: 250 }, () => 1) });
          const url = `${server.baseUrl}/v1/models/m:predict`;
          return String((await fetch(url, { method: "POST", body, signal })).status);
        }
        const request = predictRequest({ x: tensor("float32", [150], new Float32Array(150)) });
        const onCall = (cancel: () => void) => signal.addEventListener("abort", cancel);
        return callRaw(server.client, PREDICT, request, { onCall }).then(
          () => "200",
          (error) => (error.code === 8 ? "503" : String(error.code)),
        );
      };
      const leaving = new AbortController();
      const gone = ask(leaving.signal).catch(() => "gone");
      while (releases.length === 0) await new Promise((resolve) => setImmediate(resolve));
      leaving.abort();
      assert.match(await gone, /^(gone|1)$/);
      while (server.server.inFlight > 0) await new Promise((resolve) => setImmediate(resolve));
      const { signal } = new AbortController();
      assert.equal(await ask(signal), "503");
      releases.pop()!();
      const answered = async () => {
        const asked = ask(signal);
        while (releases.length === 0) {
          const early = await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, 10))]);
          if (early !== undefined) return early;
        }
        releases.pop()!();
        return asked;
      };
      while ((await answered()) !== "200");
    });
  }

  it("answers others while thousands of connections are open, half-open and slow ones among them", async () => {
    const limits = { restConnectionsMax: 1500, receiveTimeoutMs: 1500 };
    await using server = await startServer({ m: { 1: halfPlus(2) } }, { limits });
    const port = Number(new URL(server.baseUrl).port);
    const sockets: Socket[] = [];
    let closed = 0;
    const open = (first: string) =>
      new Promise<void>((resolve) => {
        const socket = connect(port, "127.0.0.1", () => {
          socket.write(first);
          resolve();
        });
        socket.on("error", () => undefined).on("close", () => closed++);
        sockets.push(socket);
      });
    const half = "POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{";
    const kinds = ["", "GET /v1/mod", half]; // says nothing, stops in its headers, stops in its body
    for (let i = 0; i < 1200; i += 100) {
      await Promise.all(Array.from({ length: 100 }, (_, j) => open(kinds[(i + j) % kinds.length]!)));
    }
    const predict = async () => {
      const body = '{"instances": [1.0]}';
      const reply = await fetch(`${server.baseUrl}/v1/models/m:predict`, {
        method: "POST",
        body,
        headers: { connection: "close" },
      });
      return reply.status;
    };
    assert.equal(await predict(), 200);
    const slow = setInterval(() => {
      for (const socket of sockets) if (socket.writable) socket.write("x");
    }, 300);
    try {
      // Whoever has not sent a whole request in time is cut off, however busily they drip.
      const endMs = performance.now() + 30_000;
      while (closed < 1100 && performance.now() < endMs) await new Promise((resolve) => setTimeout(resolve, 50));
      assert.ok(closed >= 1100, `${closed} of 1200 were cut off`);
      assert.equal(await predict(), 200);
      for (let i = 0; i < 1600; i += 200) await Promise.all(Array.from({ length: 200 }, () => open("")));
      await new Promise((resolve) => setTimeout(resolve, 200));
      const alive = sockets.filter((socket) => !socket.destroyed).length;
      assert.ok(alive <= 1500 + 100, `${alive} connections are open`);
    } finally {
      clearInterval(slow);
      for (const socket of sockets) socket.destroy();
    }
  });
});
