import assert from "node:assert/strict";
import { Registry } from "prom-client";
import { MetricsEndpoint } from "../src/roles/process/metrics-endpoint.js";

describe("metrics endpoint of a shard", () => {
  it("tells health from readiness", async () => {
    let isReady = false;
    const registry = new Registry();
    const answers = { isHealthy: () => true, isReady: () => isReady };
    await using endpoint = new MetricsEndpoint({ host: "127.0.0.1", port: 0, registry, ...answers });
    await endpoint.start();
    const status = async (path: string) => (await fetch(`http://127.0.0.1:${endpoint.port}${path}`)).status;
    assert.deepEqual(await Promise.all(["/healthz", "/readyz", "/metrics", "/"].map(status)), [200, 503, 200, 404]);
    isReady = true;
    assert.equal(await status("/readyz"), 200);
  });
});
