import assert from "node:assert/strict";
import { type Client, Metadata } from "@grpc/grpc-js";
import { fromBinary, type ModelSpec, PredictResponseSchema, TrafficConfigSchema } from "@shardserve/api";
import { seededRandom, ServingError } from "@shardserve/core";
import { parseTextFormat, trafficPolicies } from "@shardserve/model-server";
import { tensor } from "@shardserve/tensor";
import { PREDICT, predict, predictRequest, startServer } from "./harness.js";
import { FunctionModel, type Run } from "./models.js";

const policies = (text: string) => trafficPolicies(parseTextFormat(TrafficConfigSchema, text, "traffic.config"));

const model = (run: Run) =>
  new FunctionModel({
    serving_default: {
      inputs: { x: { dtype: "float32", shape: [-1] } },
      outputs: { y: { dtype: "float32", shape: [-1] } },
      run,
    },
  });
const adding = (amount: number) =>
  model((inputs) => {
    const x = inputs.get("x")!;
    return {
      y: tensor(
        "float32",
        x.shape,
        (x.data as Float32Array).map((value) => value + amount),
      ),
    };
  });
const X = { x: tensor("float32", [1], new Float32Array([1])) };

function versionOf(spec: ModelSpec | undefined): bigint | undefined {
  return spec?.versionChoice.case === "version" ? spec.versionChoice.value.value : undefined;
}

/** The version that answers a gRPC predict with a sticky key. */
function versionFor(client: Client, key: string): Promise<bigint> {
  const metadata = new Metadata();
  metadata.set("x-shardserve-sticky-key", key);
  return new Promise((resolve, reject) => {
    const bytes = (value: Buffer) => value;
    client.makeUnaryRequest(PREDICT, bytes, bytes, Buffer.from(predictRequest(X)), metadata, {}, (error, reply) => {
      if (error) return reject(error);
      resolve(versionOf(fromBinary(PredictResponseSchema, reply!).modelSpec)!);
    });
  });
}

describe("traffic", () => {
  it("is split by weight; a sticky key gets one version over gRPC, REST and the Open Inference Protocol", async () => {
    await using served = await startServer({ m: { 1: adding(0), 2: adding(0) } });
    served.manager.replaceTraffic(
      policies('model { name: "m" split { version: 1 weight: 3 } split { version: 2 weight: 1 } }'),
    );
    const keys = Array.from({ length: 40 }, (_, i) => `user-${i}`);
    const seen = new Set<string>();
    for (const key of keys) {
      const headers = { "x-shardserve-sticky-key": key };
      const rest = await fetch(`${served.baseUrl}/v1/models/m:predict`, {
        method: "POST",
        headers,
        body: '{"instances": [1.0]}',
      });
      const infer = await fetch(`${served.baseUrl}/v2/models/m/infer`, {
        method: "POST",
        headers,
        body: JSON.stringify({ inputs: [{ name: "x", datatype: "FP32", shape: [1], data: [1] }] }),
      });
      assert.equal(infer.status, 200);
      const version = rest.headers.get("x-shardserve-model-version")!;
      assert.equal(infer.headers.get("x-shardserve-model-version"), version);
      assert.equal(String(await versionFor(served.client, key)), version);
      seen.add(version);
    }
    assert.deepEqual([...seen].sort(), ["1", "2"]);
  });

  it("is copied to a shadow, whose answers are compared and whose failures nobody meets", async () => {
    const broken = model(() => Promise.reject(new ServingError("INTERNAL", "a bug of version 3")));
    const shadows = { 2: adding(0), 3: broken, 4: adding(1) };
    await using served = await startServer({ m: { 1: adding(0), ...shadows } }, { random: seededRandom(1) });
    const outcomes = async (version: number) => {
      const page = await (await fetch(`${served.baseUrl}/monitoring/prometheus/metrics`)).text();
      const line = new RegExp(
        `shardserve_shadow_requests_total\\{model="m",version="${version}",outcome="(\\w+)"\\} (\\d+)`,
        "g",
      );
      return Object.fromEntries([...page.matchAll(line)].map(([, outcome, count]) => [outcome, Number(count)]));
    };
    for (const [version, outcome] of [
      [2, "same"],
      [3, "failed"],
      [4, "different"],
      [9, "unavailable"],
    ] as const) {
      served.manager.replaceTraffic(
        policies(`model { name: "m" split { version: 1 weight: 1 } shadow { version: ${version} fraction: 1 } }`),
      );
      for (let i = 0; i < 5; i++) {
        const { outputs, spec } = await predict(served.client, X);
        assert.equal((outputs["y"]!.data as Float32Array)[0], 1);
        assert.equal(versionOf(spec), 1n);
      }
      while (((await outcomes(version))[outcome] ?? 0) < 5) await new Promise((resolve) => setTimeout(resolve, 5));
      assert.deepEqual(await outcomes(version), { [outcome]: 5 });
    }
  });

  it("of a bad configuration is refused, naming model and rule", () => {
    const refused = (text: string, rule: RegExp) => assert.throws(() => policies(text), rule);
    refused("model { }", /a model has no name/);
    refused('model { name: "m" } model { name: "m" }', /model m is listed twice/);
    refused('model { name: "m" split { version: 1 } }', /version 1 has weight 0; give a number above 0/);
    refused('model { name: "m" split { version: -1 weight: 1 } }', /version -1 lies outside/);
    refused(
      'model { name: "m" split { version: 1 weight: 1 } split { version: 1 weight: 2 } }',
      /version 1 is twice in the split/,
    );
    refused('model { name: "m" shadow { version: 1 fraction: 1.5 } }', /the shadow's fraction is 1.5/);
    refused(
      'model { name: "m"\n  wieght: 1 }',
      /traffic\.config:2:3: shardserve\.v1\.ModelTraffic has no field "wieght"/,
    );
    assert.equal(policies("").size, 0);
  });
});
