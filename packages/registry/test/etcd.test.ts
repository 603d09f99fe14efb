import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { isServingError, silentLogger } from "@shardserve/core";
import { EtcdRegistry, RegistryView } from "@shardserve/registry";
import { eventually } from "@shardserve/testkit";
import { etcdHarness } from "./harness.js";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("etcd registry", function () {
  this.timeout(60_000);
  let harness: Awaited<ReturnType<typeof etcdHarness>>;

  before(async () => {
    harness = await etcdHarness();
  });
  after(() => harness.close());

  it("misses no delete when history is compacted while the watch is cut off", async () => {
    const direct = new EtcdRegistry({ hosts: [harness.etcd.host], cluster: "compaction" });
    const proxied = new EtcdRegistry({ hosts: [`127.0.0.1:${harness.proxy.port}`], cluster: "compaction" });
    await direct.txn(
      [],
      [
        { put: "a", value: bytes("1") },
        { put: "b", value: bytes("1") },
      ],
    );
    const view = new RegistryView(proxied, "");
    view.start();
    await view.reach();
    harness.proxy.setRefusing(true);
    harness.proxy.cut();
    await direct.txn([], [{ delete: "a" }]);
    for (let i = 0; i < 20; i++) await direct.txn([], [{ put: "b", value: bytes(String(i)) }]);
    await harness.compact?.();
    assert.deepEqual([...view.entries.keys()], ["a", "b"]);
    harness.proxy.setRefusing(false);
    await eventually(() => [...view.entries.keys()].join() === "b", { timeoutMs: 8_000 });
    await view.close();
    await direct.close();
    await proxied.close();
  });

  it("a network that swallows everything ends calls at their timeout, and the watch is made again", async () => {
    const registry = new EtcdRegistry({
      hosts: [`127.0.0.1:${harness.proxy.port}`],
      cluster: "dark",
      callTimeoutMs: 400,
    });
    await registry.get("x");
    harness.proxy.setDark(true);
    const startMs = performance.now();
    await assert.rejects(registry.get("x"), (error) => isServingError(error, "REGISTRY_UNAVAILABLE"));
    assert.ok(performance.now() - startMs < 5_000);
    harness.proxy.setDark(false);
    await eventually(() => registry.get("x").then(() => true), { timeoutMs: 8_000 });
    await registry.close();
    await assert.rejects(registry.get("x"), (error) => isServingError(error, "REGISTRY_UNAVAILABLE"));
  });

  it("a call that failed, and a watch that ended, do not end the other watches later", async () => {
    const interruptions: unknown[] = [];
    const logger = { ...silentLogger, warn: (...args: unknown[]) => void interruptions.push(args) };
    const registry = new EtcdRegistry({ hosts: [harness.etcd.host], cluster: "calm", callTimeoutMs: 400, logger });
    const views = [
      new RegistryView(registry, "a/"),
      new RegistryView(registry, "b/"),
      new RegistryView(registry, "c/"),
    ];
    for (const view of views) view.start();
    await Promise.all(views.map((view) => view.reach()));
    interruptions.length = 0; // a first listing may have been slower than a call's timeout
    await views.pop()!.close();
    harness.etcd.freeze();
    try {
      const untilItStops = async () => {
        for (;;) await registry.get("x"); // a process that is told to stop may answer a last call
      };
      await assert.rejects(untilItStops, (error) => isServingError(error, "REGISTRY_UNAVAILABLE"));
    } finally {
      harness.etcd.thaw();
    }
    await setTimeout(11_000); // keepalives are sent 10 s after a stream began
    assert.deepEqual(interruptions, []);
    for (const view of views) await view.close();
    await registry.close();
  });

  it("of several hosts, one that answers is enough", async () => {
    const registry = new EtcdRegistry({ hosts: ["127.0.0.1:1", harness.etcd.host, "127.0.0.1:2"], cluster: "many" });
    for (let i = 0; i < 6; i++) await registry.txn([], [{ put: `k${i}`, value: bytes("") }]);
    assert.equal((await registry.list("k")).entries.length, 6);
    await registry.close();
  });

  it("clusters do not see each other, whatever their names", async () => {
    const open = (cluster: string) => new EtcdRegistry({ hosts: [harness.etcd.host], cluster });
    const [a, ab, slash] = [open("a"), open("ab"), open("a/b")];
    await a.txn([], [{ put: "k", value: bytes("a") }]);
    await slash.txn([], [{ put: "k", value: bytes("slash") }]);
    assert.deepEqual(
      (await a.list("")).entries.map((entry) => entry.key),
      ["k"],
    );
    assert.equal((await ab.list("")).entries.length, 0);
    for (const registry of [a, ab, slash]) await registry.close();
  });

  it("a full database takes no writes and says so; what is there is read, and all goes on once there is room", async () => {
    const alarm = (action: string) =>
      fetch(`http://${harness.etcd.host}/v3/maintenance/alarm`, {
        method: "POST",
        body: JSON.stringify({ action, alarm: "NOSPACE", memberID: 0 }),
      });
    const registry = new EtcdRegistry({ hosts: [harness.etcd.host], cluster: "full" });
    await registry.txn([], [{ put: "k", value: bytes("") }]);
    await alarm("ACTIVATE");
    try {
      const isFull = (error: unknown) =>
        isServingError(error, "REGISTRY_UNAVAILABLE") && /takes no writes, its database is full/.test(error.message);
      await assert.rejects(registry.txn([], [{ put: "k", value: bytes("") }]), isFull);
      await assert.rejects(registry.lease(5), isFull);
      assert.equal((await registry.list("k")).entries.length, 1);
    } finally {
      await alarm("DEACTIVATE");
    }
    await registry.txn([], [{ put: "k", value: bytes("") }]);
    await registry.close();
  });

  it("a wrong password is REGISTRY_DENIED, not an outage", async () => {
    const call = (path: string, body: object) =>
      fetch(`http://${harness.etcd.host}/v3/auth/${path}`, { method: "POST", body: JSON.stringify(body) });
    await call("user/add", { name: "root", password: "right" });
    await call("user/grant", { user: "root", role: "root" });
    await call("enable", {});
    const hosts = [harness.etcd.host];
    const right = new EtcdRegistry({ hosts, cluster: "auth", auth: { username: "root", password: "right" } });
    const wrong = new EtcdRegistry({ hosts, cluster: "auth", auth: { username: "root", password: "wrong" } });
    const none = new EtcdRegistry({ hosts, cluster: "auth" });
    await right.txn([], [{ put: "k", value: bytes("") }]);
    await assert.rejects(wrong.get("k"), (error) => isServingError(error, "REGISTRY_DENIED"));
    await assert.rejects(none.get("k"), (error) => isServingError(error, "REGISTRY_DENIED"));
    await assert.rejects(
      (async () => {
        for await (const _ of wrong.watch("")) break;
      })(),
      (error) => isServingError(error, "REGISTRY_DENIED"),
    );
    for (const registry of [right, wrong, none]) await registry.close();
  });
});
