import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
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

  it("listens on all addresses, and says which flag's port is taken", async () => {
    const answers = { registry: new Registry(), isHealthy: () => true, isReady: () => true };
    await using endpoint = MetricsEndpoint.from({ metricsPort: 0 }, answers)!;
    await endpoint.start();
    const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));
    for (const host of hasIpv6 ? ["127.0.0.1", "[::1]"] : ["127.0.0.1"])
      assert.equal((await fetch(`http://${host}:${endpoint.port}/healthz`)).status, 200);
    await using second = MetricsEndpoint.from({ metricsPort: endpoint.port }, answers)!;
    await assert.rejects(
      second.start(),
      /^ServingError: cannot serve metrics on port \d+ \(--metrics-port\): .*EADDRINUSE/,
    );
  });
});
