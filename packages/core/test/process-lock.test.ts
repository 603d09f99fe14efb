import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ProcessLock } from "@shardserve/core";

const refuse = (owner: number) => new Error(`process ${owner} has it`);

describe("ProcessLock", () => {
  let dir: string;
  let path: string;
  beforeEach(() => void ((dir = mkdtempSync(join(tmpdir(), "process-lock-"))), (path = join(dir, "lock"))));
  afterEach(() => rmSync(dir, { recursive: true }));

  it("is one's until it is released, and leaves nothing", async () => {
    const takers = await Promise.allSettled([1, 2, 3].map(() => ProcessLock.take(path, refuse)));
    const [lock, ...others] = takers.flatMap((taker) => (taker.status === "fulfilled" ? [taker.value] : []));
    assert.ok(lock && others.length === 0);
    await assert.rejects(ProcessLock.take(path, refuse), new RegExp(`process ${process.pid} has it`));
    await lock.release();
    await (await ProcessLock.take(path, refuse)).release();
    assert.deepEqual(readdirSync(dir), []);
  });

  it("is not taken from a living process", async () => {
    const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 60_000)"]);
    writeFileSync(path, `${child.pid}\n`);
    await assert.rejects(ProcessLock.take(path, refuse), new RegExp(`process ${child.pid} has it`));
    child.kill();
    await new Promise((resolve) => child.once("exit", resolve));
    await (await ProcessLock.take(path, refuse)).release();
  });

  for (const [what, text] of [
    ["a process that is gone", "2147483646\n"],
    ["an earlier process of the same id, as in a container", `${process.pid}\n`],
    ["a process that was killed while it wrote", ""],
  ] as const) {
    it(`is taken over from ${what}`, async () => {
      writeFileSync(path, text);
      const lock = await ProcessLock.take(path, refuse);
      await lock.release();
    });
  }
});
