import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { silentLogger } from "@shardserve/core";
import { EtcdRegistry, RegistryView } from "@shardserve/registry";
import { makeCertificates, tempDir } from "@shardserve/testkit";

describe("an outage of etcd", function () {
  this.timeout(30_000);

  it("leaves one connection for each watch, not one for each try, where etcd asks for a password", async function () {
    await using dir = await tempDir();
    if (!makeCertificates(dir.path)) {
      console.log("SKIPPED: openssl is not installed");
      return this.skip();
    }
    const open = new Set<Socket>();
    const server = createServer((socket) => {
      open.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => open.delete(socket));
    });
    const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    await listen(0);
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const registry = new EtcdRegistry({
      hosts: [`127.0.0.1:${port}`],
      cluster: "away",
      auth: { username: "prod", password: "secret" },
      tls: { ca: readFileSync(join(dir.path, "ca.pem")) },
      logger: silentLogger,
    });
    const views = ["a/", "b/", "c/"].map((prefix) => new RegistryView(registry, prefix));
    for (const view of views) view.start();
    await setTimeout(6_000); // several tries of each
    await listen(port);
    await setTimeout(3_000); // longer than a channel waits before it connects again
    const count = open.size;
    for (const view of views) await view.close();
    await registry.close();
    for (const socket of open) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    assert.ok(count <= views.length + 1, `${count} connections`);
  });
});
