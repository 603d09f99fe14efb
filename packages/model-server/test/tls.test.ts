import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { connect } from "node:tls";
import { join } from "node:path";
import { Client, credentials } from "@grpc/grpc-js";
import { ModelServer, parseTlsConfig, readMonitoringPath } from "@shardserve/model-server";
import { tensor } from "@shardserve/tensor";
import { makeCertificates, sslConfig } from "@shardserve/testkit";
import { failureOf, predict, startManager, startServer } from "./harness.js";
import { halfPlus } from "./models.js";

const x = tensor("float32", [1], Float32Array.of(1));

describe("TLS", function () {
  this.timeout(60_000);
  let dir: string;
  const file = (name: string) => readFile(join(dir, name));
  before(async function () {
    dir = await mkdtemp(join(tmpdir(), "shardserve-tls-"));
    if (makeCertificates(dir)) return;
    console.log("skipped: openssl is not installed");
    this.skip();
  });
  after(() => rm(dir, { recursive: true }));

  const serving = async (isClientVerified: boolean) => {
    const tls = parseTlsConfig(sslConfig(dir, isClientVerified), "ssl.config");
    const manager = await startManager({ m: { 1: halfPlus(2) } });
    const server = new ModelServer({
      manager,
      grpcPort: 0,
      restPort: 0,
      host: "127.0.0.1",
      grpcTls: tls,
      restTls: tls,
    });
    await server.start();
    return {
      async grpc(name?: string) {
        const pair = name ? [await file(`${name}.key`), await file(`${name}.pem`)] : [null, null];
        const client = new Client(
          `localhost:${server.grpcPort}`, // by name: see the note on etcd in docs/operations.md
          credentials.createSsl(await file("ca.pem"), pair[0]!, pair[1]!),
        );
        const failure = await failureOf(predict(client, { x }));
        client.close();
        return failure;
      },
      async rest(name?: string) {
        const pair = name ? { key: await file(`${name}.key`), cert: await file(`${name}.pem`) } : {};
        const options = {
          host: "127.0.0.1",
          port: server.restPort,
          path: "/v1/models/m",
          ca: await file("ca.pem"),
          servername: "localhost",
        };
        return new Promise<number | string>((resolve) => {
          request({ ...options, ...pair, agent: false }, (response) => resolve(response.resume().statusCode!))
            .on("error", (error) => resolve((error as NodeJS.ErrnoException).code ?? error.message))
            .end();
        });
      },
      async plain() {
        const client = new Client(`127.0.0.1:${server.grpcPort}`, credentials.createInsecure());
        const failure = await failureOf(predict(client, { x }));
        client.close();
        return failure;
      },
      /** Subject of the certificate that a new connection is shown. */
      subject(port: number) {
        return new Promise<string>((resolve, reject) => {
          const socket = connect(
            { host: "127.0.0.1", port, rejectUnauthorized: false, ALPNProtocols: ["h2", "http/1.1"] },
            () => {
              resolve(String(socket.getPeerCertificate().subject.CN));
              socket.destroy();
            },
          ).on("error", reject);
        });
      },
      server,
      async [Symbol.asyncDispose]() {
        await server.close();
        await manager.close();
      },
    };
  };

  it("encrypts gRPC and REST, and refuses plain connections", async () => {
    await using server = await serving(false);
    assert.equal(await server.grpc(), "no failure");
    assert.equal(await server.rest(), 200);
    assert.match(await server.plain(), /^14: /);
  });

  it("wants a certificate of the authority from clients", async () => {
    await using server = await serving(true);
    assert.equal(await server.grpc("client"), "no failure");
    assert.equal(await server.rest("client"), 200);
    for (const name of [undefined, "stranger"]) {
      assert.match(await server.grpc(name), /^14: /);
      assert.match(String(await server.rest(name)), /^(ERR_SSL|ECONNRESET|EPIPE)/);
    }
  });

  it("shows new certificates on new connections, and keeps open ones", async () => {
    await using serving_ = await serving(true);
    const { server } = serving_;
    const client = new Client(
      `localhost:${server.grpcPort}`,
      credentials.createSsl(await file("ca.pem"), await file("client.key"), await file("client.pem")),
    );
    assert.equal(await failureOf(predict(client, { x })), "no failure");
    const ports = [server.grpcPort, server.restPort];
    assert.deepEqual(await Promise.all(ports.map((port) => serving_.subject(port))), ["server", "server"]);
    const next = {
      key: (await file("client.key")).toString(),
      cert: (await file("client.pem")).toString(),
      clientCa: (await file("ca.pem")).toString(),
      isClientVerified: true,
    };
    server.replaceGrpcTls(next);
    server.replaceRestTls(next);
    assert.deepEqual(await Promise.all(ports.map((port) => serving_.subject(port))), ["client", "client"]);
    assert.equal(await failureOf(predict(client, { x })), "no failure");
    assert.notEqual(await serving_.grpc(), "no failure", "clients still need certificates");
    const open = { ...next, clientCa: undefined, isClientVerified: false };
    for (const replace of [() => server.replaceGrpcTls(open), () => server.replaceRestTls(open)])
      assert.throws(replace, { code: "CONFIG_INVALID", message: /client_verify became false/ });
    assert.notEqual(await serving_.rest(), 200);
    assert.equal(await serving_.rest("client"), 200);
    client.close();
  });

  it("refuses configurations that cannot work", async () => {
    const refused = (text: string) => {
      try {
        parseTlsConfig(text, "/bad.config");
        return "accepted";
      } catch (error) {
        return (error as Error).message;
      }
    };
    assert.equal(refused('server_key: "k"'), "/bad.config: server_key and server_cert are needed, as PEM text");
    assert.match(refused('server_key: "k" server_cert: "c"'), /key and certificates cannot be used/);
    assert.match(refused('server_key: "k" server_cert: "c" client_verify: true'), /client_verify needs custom_ca/);
    assert.match(refused('key: "k"'), /:1:1: tensorflow\.serving\.SSLConfig has no field "key"/);
  });

  it("serves the metrics where the monitoring file says, or not at all", async () => {
    const path = join(dir, "monitoring.config");
    const read = async (text: string) => {
      await writeFile(path, text);
      return readMonitoringPath(path);
    };
    assert.equal(await read("prometheus_config { enable: true }"), undefined);
    assert.equal(await read(""), null);
    await assert.rejects(read('prometheus_config { enable: true path: "m" }'), /does not begin with \//);
    const metricsPath = (await read('prometheus_config { enable: true path: "/m" }'))!;
    for (const [option, expected] of [
      [metricsPath, [200, 404]],
      [null, [404, 404]],
    ] as const) {
      await using served = await startServer({ m: { 1: halfPlus(2) } }, { metricsPath: option });
      const statuses = ["/m", "/monitoring/prometheus/metrics"].map(
        async (at) => (await fetch(`${served.baseUrl}${at}`)).status,
      );
      assert.deepEqual(await Promise.all(statuses), expected);
    }
  });
});
