import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { EtcdServer, eventually, findProgram, launch, RedisServer, TcpProxy, tempDir } from "@shardserve/testkit";
import { isServingError } from "@shardserve/core";
import { stat } from "node:fs/promises";

describe("services for tests", () => {
  it("etcd starts, keeps its data over a crash, and is gone after stop", async () => {
    const etcd = await EtcdServer.start();
    const put = { key: Buffer.from("a").toString("base64"), value: Buffer.from("1").toString("base64") };
    const call = (method: string, body: object) =>
      fetch(`http://${etcd.host}/v3/kv/${method}`, { method: "POST", body: JSON.stringify(body) }).then((r) =>
        r.json(),
      );
    await call("put", put);
    await etcd.pause();
    await assert.rejects(call("range", { key: put.key }));
    await etcd.resume();
    const { kvs } = (await call("range", { key: put.key })) as { kvs: { value: string }[] };
    assert.equal(kvs[0]?.value, put.value);
    await etcd.stop();
    await assert.rejects(call("range", { key: put.key }));
  });

  it("redis-server starts, answers, and can be restarted", async () => {
    await using redis = await RedisServer.start();
    await redis.pause();
    await redis.resume();
  });

  it("a program that is missing is named together with the package that has it", () => {
    const path = process.env.PATH;
    process.env.PATH = "";
    try {
      assert.throws(
        () => findProgram("no-such-program"),
        (error) =>
          isServingError(error, "DEPENDENCY_MISSING") && error.message.includes("apt-get install no-such-program"),
      );
    } finally {
      process.env.PATH = path;
    }
  });

  it("a launched process keeps its output, and its early end fails a wait at once", async () => {
    await using child = launch(process.execPath, {
      args: ["-e", "console.log('ready on 7'); setInterval(() => {}, 1000)"],
    });
    assert.equal((await child.waitForOutput(/ready on (\d)/))[1], "7");
    assert.equal((await child.stop()).signal, "SIGTERM");
    await using dead = launch(process.execPath, { args: ["-e", "console.error('no luck'); process.exit(3)"] });
    await assert.rejects(dead.waitForOutput(/ready/), /the process ended[^]*no luck/);
    await using absent = launch("/no/such/program");
    await assert.rejects(absent.waitForOutput(/ready/), /cannot start/);
  });

  it("the proxy delays, goes dark and cuts", async () => {
    const echo = createServer((socket) => socket.on("error", () => undefined).pipe(socket));
    await new Promise<void>((resolve) => echo.listen(0, "127.0.0.1", resolve));
    const { port } = echo.address() as { port: number };
    await using proxy = await TcpProxy.start({ host: "127.0.0.1", port });
    const client = connect(proxy.port, "127.0.0.1");
    let received = "";
    let isClosed = false;
    client.on("data", (chunk) => (received += chunk.toString()));
    client.on("error", () => undefined).on("close", () => (isClosed = true));
    client.write("a");
    await eventually(() => received === "a");
    proxy.setDelay(60);
    const sentMs = performance.now();
    client.write("b");
    await eventually(() => received === "ab");
    assert.ok(performance.now() - sentMs >= 110, "both ways were delayed");
    proxy.setDelay(0);
    proxy.setDark(true);
    client.write("c");
    await assert.rejects(eventually(() => received === "abc", { timeoutMs: 100 }));
    assert.equal(isClosed, false);
    proxy.setDark(false);
    await eventually(() => isClosed);
    echo.close();
  });

  it("a temporary folder goes with its scope", async () => {
    const dir = await tempDir();
    assert.ok((await stat(dir.path)).isDirectory());
    await dir.remove();
    await assert.rejects(stat(dir.path));
  });
});
