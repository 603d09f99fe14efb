import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EtcdRegistry, MemoryRegistry } from "@shardserve/registry";
import { tempDir } from "@shardserve/testkit";
import { ShardServer } from "../src/index.js";

const OPTIONS = {
  id: "shard-0",
  cluster: "c",
  instance: "i",
  machine: "m",
  listen: "127.0.0.1:0",
  repository: tmpdir(),
};

describe("a shard that starts", () => {
  it("stops to wait for a registry that is away when it is told to stop", async () => {
    const registry = new EtcdRegistry({ hosts: ["127.0.0.1:1"], cluster: "c" });
    const server = new ShardServer({ ...OPTIONS, registry });
    const stop = new AbortController();
    const starting = server.start({ signal: stop.signal });
    setTimeout(() => stop.abort(new Error("stopped")), 50);
    await assert.rejects(starting, /stopped/);
    await server.close();
    await registry.close();
  });

  it("is not there at all when it cannot write to its --data-dir", async () => {
    await using folder = await tempDir();
    const file = join(folder.path, "file");
    await writeFile(file, "");
    const registry = new MemoryRegistry();
    const server = new ShardServer({ ...OPTIONS, registry, dataDir: join(file, "copies") });
    await assert.rejects(server.start(), /^ServingError: --data-dir=.*copies: ENOTDIR/);
    assert.equal((await registry.list("shards/")).entries.length, 0);
    await registry.close();
  });
});
