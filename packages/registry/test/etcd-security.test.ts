import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { createServer as createSecureServer } from "node:tls";
import { isServingError } from "@shardserve/core";
import { campaign, EtcdRegistry, LeasedKeys, RegistryView } from "@shardserve/registry";
import { EtcdServer, eventually, makeCertificates, TcpProxy, type TempDir, tempDir } from "@shardserve/testkit";

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

  /** What a registry says of a call that cannot reach etcd. */
  const refusal = async (host: string, tls: Parameters<typeof open>[0]): Promise<string> => {
    const registry = new EtcdRegistry({ hosts: [host], cluster: "tls", callTimeoutMs: 1_500, ...(tls && { tls }) });
    let message = "";
    await assert.rejects(registry.get("k"), (error: Error) => {
      message = error.message;
      return isUnavailable(error);
    });
    await registry.close();
    return message;
  };
  const client = () => ({ ca: pem("ca.pem"), cert: pem("client.pem"), key: pem("client.key") });

  it("refuses who has none, one of a stranger, or no TLS; and a server that its own authority does not vouch for: each by name", async () => {
    const stranger = { ca: pem("ca.pem"), cert: pem("stranger.pem"), key: pem("stranger.key") };
    const cases: [Parameters<typeof open>[0], RegExp][] = [
      [{ ca: pem("ca.pem") }, /refuses us without a certificate .*give --etcd-cert/],
      [stranger, /refuses our certificate .*of an authority that it trusts/],
      [{ ...client(), ca: pem("other.pem") }, /has a certificate of another authority than --etcd-ca/],
      [undefined, /asks for TLS: give --etcd-ca/],
    ];
    for (const [tls, why] of cases) {
      const message = await refusal(etcd.host, tls);
      assert.match(message, why);
      assert.match(message, /^get \S+: etcd cannot be reached: localhost:\d+ /);
    }
  });

  it("says of a server what its certificate lacks, that it speaks no TLS, nothing, or is not there", async () => {
    const listen = async (server: Server) => {
      const sockets = new Set<Socket>();
      server.on("connection", (socket: Socket) => sockets.add(socket.on("error", () => undefined)));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const { port } = server.address() as AddressInfo;
      const close = () => {
        for (const socket of sockets) socket.destroy();
        server.close();
      };
      return { port, close };
    };
    const secure = (name: string) => createSecureServer({ cert: pem(`${name}.pem`), key: pem(`${name}.key`) });
    const servers = await Promise.all([secure("expired"), createServer()].map(listen));
    const [expired, silent] = servers.map(({ port }) => port);
    const plain = await EtcdServer.start();
    const known = pem("expired.pem").toString();
    await eventually(() => Date.parse(new X509Certificate(known).validTo) < Date.now() - 1_000);
    try {
      const cases: [string, RegExp, Parameters<typeof open>[0]][] = [
        [`localhost:${expired}`, /localhost:\d+ has a certificate that has expired/, client()],
        [`127.0.0.1:${silent}`, /127\.0\.0\.1:\d+ takes connections and says nothing for 3 s/, undefined],
        [plain.host, /speaks no TLS: leave out --etcd-ca/, client()],
        ["127.0.0.1:1", /127\.0\.0\.1:1 refuses connections: is etcd running there/, undefined],
        ["localhost:1", /localhost:1 refuses connections/, client()],
      ];
      for (const [host, why, tls] of cases) assert.match(await refusal(host, tls), why);
    } finally {
      for (const { close } of servers) close();
      await plain.stop();
    }
  });

  it("names what a certificate is for when etcd is called by another name", async () => {
    const server = createSecureServer({ cert: pem("server.pem"), key: pem("server.key") });
    server.on("connection", (socket) => socket.on("error", () => undefined));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.2", resolve));
    try {
      const message = await refusal(`127.0.0.2:${(server.address() as AddressInfo).port}`, client());
      assert.match(
        message,
        /has a certificate for other names: write it in --etcd as its certificate does \(.*127\.0\.0\.2/,
      );
    } finally {
      server.close();
    }
  });
});

describe("etcd with a user who may only write below its cluster", function () {
  this.timeout(60_000);
  let etcd: EtcdServer;

  before(async () => {
    etcd = await EtcdServer.start({ args: ["--auth-token-ttl=1"] }); // seconds for which a token lives unused
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

  const asRoot = async (what: string, body: object) => {
    const ask = async (path: string, said: object, headers = {}) => {
      const url = `http://${etcd.host}/v3/auth/${path}`;
      const reply = await fetch(url, { method: "POST", body: JSON.stringify(said), headers });
      const text = await reply.text();
      assert.ok(reply.ok, `${path}: ${text}`);
      return JSON.parse(text) as { readonly token?: string };
    };
    const { token } = await ask("authenticate", { name: "root", password: "secret" });
    await ask(what, body, { authorization: token });
  };
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

  // Nothing else asks for a new token: keepalives need none, and an executor makes no calls for hours.
  it("is watched again when the connection breaks after the token expired", async () => {
    const proxy = await TcpProxy.start({ host: "127.0.0.1", port: etcd.port });
    const ours = new EtcdRegistry({
      hosts: [`127.0.0.1:${proxy.port}`],
      cluster: "prod",
      auth: { username: "prod", password: "right" },
    });
    const writer = open("prod");
    const events = ours.watch("expired/");
    assert.equal((await events.next()).value?.type, "snapshot");
    await new Promise((resolve) => setTimeout(resolve, 3_000)); // a token's second, and etcd's looks for such, one a second
    proxy.cut();
    assert.equal((await events.next()).value?.type, "snapshot");
    await writer.txn([], [{ put: "expired/k", value: bytes("") }]);
    assert.equal((await events.next()).value?.type, "changes");
    await events.return();
    for (const registry of [ours, writer]) await registry.close();
    await proxy.stop();
  });

  it("is watched again after the user had no rights for a while", async () => {
    const ours = open("prod");
    const events = ours.watch("denied/");
    assert.equal((await events.next()).value?.type, "snapshot");
    await asRoot("user/revoke", { name: "prod", role: "shardserve" });
    await etcd.pause();
    await etcd.resume();
    const next = events.next();
    await assert.rejects(ours.get("k"), isDenied);
    await new Promise((resolve) => setTimeout(resolve, 500)); // for tries of the watch; true without any, too
    await asRoot("user/grant", { user: "prod", role: "shardserve" });
    assert.equal((await next).value?.type, "snapshot");
    await events.return();
    await ours.close();
  });
});

describe("etcd with JWT tokens", function () {
  this.timeout(60_000);

  it("is asked with a new token once its users have changed", async () => {
    await using dir = await tempDir("shardserve-jwt-");
    const keys = generateKeyPairSync("rsa", {
      modulusLength: 2048,
      publicKeyEncoding: { type: "spki", format: "pem" },
      privateKeyEncoding: { type: "pkcs1", format: "pem" },
    });
    const [publicKey, privateKey] = [join(dir.path, "public.pem"), join(dir.path, "private.pem")];
    writeFileSync(publicKey, keys.publicKey);
    writeFileSync(privateKey, keys.privateKey);
    const token = `jwt,pub-key=${publicKey},priv-key=${privateKey},sign-method=RS256,ttl=10m`;
    const etcd = await EtcdServer.start({ args: [`--auth-token=${token}`] });
    const call = async (what: string, body: object, headers = {}) => {
      const url = `http://${etcd.host}/v3/auth/${what}`;
      return (await fetch(url, { method: "POST", body: JSON.stringify(body), headers })).json();
    };
    const root = { name: "root", password: "secret" };
    await call("user/add", root);
    await call("user/grant", { user: "root", role: "root" });
    await call("enable", {});
    const auth = { username: "root", password: "secret" };
    const registry = new EtcdRegistry({ hosts: [etcd.host], cluster: "prod", auth });
    const events = registry.watch("");
    assert.equal((await events.next()).value?.type, "snapshot");
    const { token: authorization } = (await call("authenticate", root)) as { readonly token: string };
    await call("user/add", { name: "another", password: "x" }, { authorization });
    await registry.txn([], [{ put: "k", value: bytes("v") }]);
    await eventually(async () => {
      const { value } = await events.next();
      return value?.type === "changes" || (value?.type === "snapshot" && value.entries.length === 1);
    });
    await events.return();
    await registry.close();
    await etcd.stop();
  });
});
