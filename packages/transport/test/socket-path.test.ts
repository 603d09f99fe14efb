import assert from "node:assert/strict";
import { once } from "node:events";
import { spawn } from "node:child_process";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { tempDir } from "@shardserve/testkit";
import { FramedServer } from "../src/index.js";

const serverAt = (path: string) => new FramedServer({ peer: "test", listen: [{ path }] });
const refusal = (code: "CONFIG_INVALID" | "UNAVAILABLE", words: RegExp) => (error: unknown) =>
  isServingError(error, code) && words.test(error.message);

describe("path of a Unix socket", () => {
  it("is taken over from a process that was killed, not from one that lives", async () => {
    await using folder = await tempDir();
    const path = join(folder.path, "s.sock");
    const listening = `require("net").createServer().listen(${JSON.stringify(path)}, () => console.log("up"))`;
    const other = spawn(process.execPath, ["-e", listening], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      await once(other.stdout, "data");
      await using late = serverAt(path);
      await assert.rejects(late.start(), refusal("UNAVAILABLE", /another process listens there/));
      assert.ok((await stat(path)).isSocket(), "the other's socket is left alone");
    } finally {
      other.kill("SIGKILL");
      await once(other, "exit");
    }
    assert.ok((await stat(path)).isSocket(), "a killed process leaves its socket");
    await using server = serverAt(path);
    await server.start();
    await server.close();
    await assert.rejects(stat(path), /ENOENT/, "and one that ends does not");
  });

  it("is never a file of another kind, whose folder is missing, or cut off", async () => {
    await using folder = await tempDir();
    const file = join(folder.path, "precious");
    await writeFile(file, "data");
    await assert.rejects(serverAt(file).start(), refusal("CONFIG_INVALID", /is no socket/));
    assert.equal(await readFile(file, "utf8"), "data");
    await assert.rejects(
      serverAt(join(folder.path, "none/s")).start(),
      refusal("CONFIG_INVALID", /there is no folder/),
    );
    await assert.rejects(
      serverAt(join(folder.path, "x".repeat(108))).start(),
      refusal("CONFIG_INVALID", /bytes at most/),
    );
  });
});
