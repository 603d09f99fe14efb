import assert from "node:assert/strict";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import type { ReadableSpan, SpanExporter } from "@opentelemetry/sdk-trace-base";
import { openTelemetry } from "@shardserve/model-server";
import { tensor } from "@shardserve/tensor";
import { OtlpCollector } from "@shardserve/testkit";
import { PREDICT, predictRequest, startServer } from "./harness.js";
import { halfPlus } from "./models.js";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";
const service = { endpoint: "", serviceName: "shardserve", serviceVersion: "1" };

class Collected implements SpanExporter {
  readonly spans: ReadableSpan[] = [];
  export(spans: ReadableSpan[], done: (result: { code: number }) => void): void {
    this.spans.push(...spans);
    done({ code: 0 });
  }
  async shutdown(): Promise<void> {}
}

/** The spans that some requests make. */
async function spansOf(
  samplingRate: number,
  requests: (server: Awaited<ReturnType<typeof startServer>>) => Promise<unknown>,
): Promise<readonly ReadableSpan[]> {
  const exporter = new Collected();
  const tracing = await openTelemetry({ ...service, samplingRate, exporter });
  {
    await using server = await startServer({ m: { 3: halfPlus(2) } }, { tracing });
    await requests(server);
  }
  await tracing.close();
  return exporter.spans;
}

/** Sets variables of the environment until it is disposed of. */
function environment(values: Readonly<Record<string, string>>): Disposable {
  const before = Object.keys(values).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, values);
  return {
    [Symbol.dispose]() {
      for (const [name, value] of before) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    },
  };
}

const x = tensor("float32", [1, 1], Float32Array.of(1));

describe("traces", () => {
  it("say whose they are, by the options and before them by the SDK's own variables", async () => {
    const ask = (server: Awaited<ReturnType<typeof startServer>>) =>
      fetch(`${server.baseUrl}/v1/models/m:predict`, { method: "POST", body: '{"instances": [1.0]}' });
    const attributesOf = async () => (await spansOf(1, ask))[0]!.resource.attributes;
    const plain = await attributesOf();
    assert.deepEqual([plain["service.name"], plain["service.version"]], ["shardserve", "1"]);
    {
      using _ = environment({ OTEL_RESOURCE_ATTRIBUTES: "deployment.environment=prod,service.name=a,zone=eu%2Dwest" });
      const { "service.name": name, zone, "deployment.environment": where, ...rest } = await attributesOf();
      assert.deepEqual([name, zone, where, rest["service.version"]], ["a", "eu-west", "prod", "1"]);
    }
    using _ = environment({ OTEL_RESOURCE_ATTRIBUTES: "service.name=a", OTEL_SERVICE_NAME: "ranker" });
    assert.equal((await attributesOf())["service.name"], "ranker");
  });

  it("hold a request with its stages, within the caller's trace, over gRPC and REST", async () => {
    const spans = await spansOf(0, async (server) => {
      const metadata = new Metadata();
      metadata.set("traceparent", `00-${TRACE}-${PARENT}-01`);
      const client = new Client(`127.0.0.1:${server.server.grpcPort}`, credentials.createInsecure());
      const same = (bytes: Buffer) => bytes;
      await new Promise((resolve) =>
        client.makeUnaryRequest(PREDICT, same, same, Buffer.from(predictRequest({ x })), metadata, resolve),
      );
      client.close();
      const headers = { traceparent: `00-${TRACE}-${PARENT}-01` };
      for (const [path, body] of [
        ["/v1/models/m:predict", '{"instances": [1.0]}'],
        ["/v2/models/m/infer", '{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}'],
        ["/v1/models/no:predict", '{"instances": [1.0]}'],
      ] as const) {
        await (await fetch(server.baseUrl + path, { method: "POST", body, headers })).text();
      }
    });
    const requests = spans.filter(({ kind }) => kind === SpanKind.SERVER);
    assert.deepEqual(
      requests.map(({ name }) => name),
      ["tensorflow.serving.PredictionService/Predict", "HTTP POST", "HTTP POST", "HTTP POST"],
    );
    for (const span of spans) assert.equal(span.spanContext().traceId, TRACE);
    for (const [i, request] of requests.entries()) {
      assert.equal(request.parentSpanContext?.spanId, PARENT);
      const inside = spans.filter(
        ({ parentSpanContext }) => parentSpanContext?.spanId === request.spanContext().spanId,
      );
      const names = inside.map(({ name }) => name);
      if (i === 3) {
        assert.deepEqual(names, []);
        assert.equal(request.status.code, SpanStatusCode.ERROR);
        assert.equal(request.attributes["shardserve.error"], "NOT_FOUND");
        assert.equal(request.attributes["shardserve.model"], "", "made-up names stay out");
        continue;
      }
      assert.deepEqual(names, ["queue", "host", "lookup", "device", "encode"]);
      assert.deepEqual([request.attributes["shardserve.model"], request.attributes["shardserve.version"]], ["m", 3]);
      const ms = ([seconds, nanos]: readonly [number, number]) => seconds * 1000 + nanos / 1e6;
      const host = inside[1]!;
      // FunctionModel says 0.1 ms of host, 0.2 of lookup, 0.3 of device.
      assert.ok(Math.abs(ms(host.duration) - 0.1) < 0.05, String(ms(host.duration)));
      assert.ok(ms(inside[0]!.startTime) >= ms(request.startTime) - 1);
      assert.ok(Math.abs(ms(request.endTime) - Date.now()) < 60_000, "wall time");
    }
  });

  it("follow the caller's decision, and else the rate", async () => {
    const ask = (flags: string | undefined) => async (server: Awaited<ReturnType<typeof startServer>>) => {
      const headers = flags === undefined ? {} : { traceparent: `00-${TRACE}-${PARENT}-${flags}` };
      for (let i = 0; i < 3; i++) await (await fetch(`${server.baseUrl}/v1/models/m`, { headers })).text();
    };
    assert.equal((await spansOf(1, ask("00"))).length, 0);
    assert.equal((await spansOf(0, ask("01"))).length, 3);
    assert.equal((await spansOf(0, ask(undefined))).length, 0);
    assert.equal((await spansOf(1, ask(undefined))).length, 3);
    assert.equal((await spansOf(1, ask("no trace"))).length, 3, "a header that is none begins a trace");
  });

  it("can have what other processes do inside of a stage, before the stage is told", async () => {
    const exporter = new Collected();
    const tracing = await openTelemetry({ ...service, samplingRate: 1, exporter });
    const request = tracing.begin("request", 5, () => undefined)!;
    const lookup = request.reserve();
    tracing.record("shard", 6, lookup, { "shardserve.shard": "a" }, { code: "UNAVAILABLE", message: "gone" });
    request.stage("queue", 5, 1);
    request.stage("lookup", 6, 2, lookup);
    request.end({}, undefined);
    await tracing.close();
    const [shard, queue, stage, root] = exporter.spans;
    assert.deepEqual([shard!.name, stage!.name, root!.name], ["shard", "lookup", "request"]);
    assert.equal(shard!.parentSpanContext?.spanId, stage!.spanContext().spanId);
    assert.equal(stage!.parentSpanContext?.spanId, root!.spanContext().spanId);
    assert.equal(new Set(exporter.spans.map((span) => span.spanContext().traceId)).size, 1);
    assert.equal(new Set(exporter.spans.map((span) => span.spanContext().spanId)).size, 4);
    assert.equal(queue!.spanContext().spanId === lookup.spanId, false);
    assert.equal(shard!.kind, SpanKind.SERVER);
    assert.deepEqual(
      [shard!.status.code, shard!.attributes["shardserve.error"]],
      [SpanStatusCode.ERROR, "UNAVAILABLE"],
    );
  });

  it("go to a collector by OTLP over HTTP; one that is away harms nobody", async () => {
    const collector = await OtlpCollector.start();
    const { endpoint } = collector;
    const trace = async () => {
      const tracing = await openTelemetry({ ...service, endpoint, samplingRate: 1 });
      {
        await using server = await startServer({ m: { 3: halfPlus(2) } }, { tracing });
        assert.equal((await fetch(`${server.baseUrl}/v1/models/m`)).status, 200);
      }
      await tracing.close();
    };
    await trace();
    assert.deepEqual(
      collector.spans.map(({ name }) => name),
      ["HTTP GET"],
    );
    await collector.stop();
    await Promise.race([trace().catch(() => undefined), new Promise((resolve) => setTimeout(resolve, 2000))]);
  }).timeout(60_000);
});
