import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { campaign, EtcdRegistry, LeasedKeys, RegistryView } from "@shardserve/registry";
import { EtcdServer, eventually, makeCertificates, type TempDir, tempDir } from "@shardserve/testkit";

/** Long enough that a busy machine renews a lease in time. */
const TTL_SECONDS = 5;
const bytes = (text: string) => new TextEncoder().encode(text);
const isUnavailable = (error: unknown) => isServingError(error, "REGISTRY_UNAVAILABLE");
const isDenied = (error: unknown) => isServingError(error, "REGISTRY_DENIED");

/** Everything that shards and executors do with a registry. */
async function useAll(registry: EtcdRegistry): Promise<void> {
  const view = new RegistryView(registry, "");
  view.start();
  const keys = new LeasedKeys(registry, { ttlSeconds: TTL_SECONDS });
  await keys.set("leased", bytes("1"));
  const revision = await registry.txn([{ key: "k", modRevision: 0 }], [{ put: "k", value: bytes("v") }]);
  await eventually(() => view.revision >= revision);
  assert.deepEqual([...view.entries.keys()].sort(), ["k", "leased"]);
  const office = await campaign(registry, "leader", bytes("me"), { ttlSeconds: TTL_SECONDS });
  await registry.txn([office.guard], [{ delete: "k" }]);
  await office.resign();
  await new Promise((resolve) => setTimeout(resolve, TTL_SECONDS * 1000 + 500)); // longer than the lease: it is kept alive
  assert.equal(keys.lossCount, 0);
  await keys.close();
  await view.close();
}

describe("etcd with TLS and client certificates", function () {
  this.timeout(60_000);
  let dir: TempDir;
  let etcd: EtcdServer;
  const path = (name: string) => join(dir.path, name);
  const pem = (name: string) => readFileSync(path(name));

  before(async function () {
    dir = await tempDir("shardserve-etcd-tls-");
    if (!makeCertificates(dir.path)) {
      console.log("skipped: openssl is not installed");
      return this.skip();
    }
    etcd = await EtcdServer.start({ tls: { ca: path("ca.pem"), cert: path("server.pem"), key: path("server.key") } });
  });
  after(async () => {
    await etcd?.stop();
    await dir?.remove();
  });

  const open = (tls?: NonNullable<ConstructorParameters<typeof EtcdRegistry>[0]["tls"]>) =>
    new EtcdRegistry({ hosts: [etcd.host], cluster: "tls", callTimeoutMs: 1_500, ...(tls && { tls }) });

  it("serves who has a certificate of the authority: transactions, leases, watches, election", async () => {
    const registry = open({ ca: pem("ca.pem"), cert: pem("client.pem"), key: pem("client.key") });
    await useAll(registry);
    await registry.close();
  });

  it("refuses who has none, one of a stranger, or no TLS; and a server that its own authority does not vouch for", async () => {
    for (const tls of [
      { ca: pem("ca.pem") },
      { ca: pem("ca.pem"), cert: pem("stranger.pem"), key: pem("stranger.key") },
      { ca: pem("other.pem"), cert: pem("client.pem"), key: pem("client.key") },
      undefined,
    ]) {
      const registry = open(tls);
      await assert.rejects(registry.get("k"), isUnavailable);
      await registry.close();
    }
  });
});

describe("etcd with a user who may only write below its cluster", function () {
  this.timeout(60_000);
  let etcd: EtcdServer;

  before(async () => {
    etcd = await EtcdServer.start();
    const call = async (what: string, body: object) => {
      const reply = await fetch(`http://${etcd.host}/v3/auth/${what}`, { method: "POST", body: JSON.stringify(body) });
      assert.ok(reply.ok, `${what}: ${await reply.text()}`);
    };
    const text = (value: string) => Buffer.from(value).toString("base64");
    await call("user/add", { name: "root", password: "secret" });
    await call("user/grant", { user: "root", role: "root" });
    await call("role/add", { name: "shardserve" });
    const range = { key: text("/shardserve/prod/"), range_end: text("/shardserve/prod0"), permType: "READWRITE" };
    await call("role/grant", { name: "shardserve", perm: range });
    await call("user/add", { name: "prod", password: "right" });
    await call("user/grant", { user: "prod", role: "shardserve" });
    await call("enable", {});
  });
  after(() => etcd.stop());

  const open = (cluster: string, password = "right") =>
    new EtcdRegistry({ hosts: [etcd.host], cluster, auth: { username: "prod", password } });

  it("may do everything there, and nothing elsewhere", async () => {
    const [ours, others, wrong] = [open("prod"), open("test"), open("prod", "wrong")];
    await useAll(ours);
    await assert.rejects(others.get("k"), isDenied);
    await assert.rejects(others.txn([], [{ put: "k", value: bytes("") }]), isDenied);
    await assert.rejects(wrong.get("k"), isDenied);
    for (const registry of [ours, others, wrong]) await registry.close();
  });
});
