import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { EtcdRegistry } from "@shardserve/registry";
import { ShardServer } from "../src/index.js";

describe("a shard that starts", () => {
  it("stops to wait for a registry that is away when it is told to stop", async () => {
    const registry = new EtcdRegistry({ hosts: ["127.0.0.1:1"], cluster: "c" });
    const server = new ShardServer({
      id: "shard-0",
      cluster: "c",
      instance: "i",
      machine: "m",
      listen: "127.0.0.1:0",
      registry,
      repository: tmpdir(),
    });
    const stop = new AbortController();
    const starting = server.start({ signal: stop.signal });
    setTimeout(() => stop.abort(new Error("stopped")), 50);
    await assert.rejects(starting, /stopped/);
    await server.close();
    await registry.close();
  });
});
