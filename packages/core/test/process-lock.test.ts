import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
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

  it("removes what killed processes left on the way to it, and nothing that may be another's", async () => {
    const token = "01234567-89ab-cdef-0123-456789abcdef";
    for (const name of [`lock.${token}`, `lock.${token}.dead`, "lock.other", `unlock.${token}`]) {
      writeFileSync(join(dir, name), "");
      utimesSync(join(dir, name), 1, 1);
    }
    writeFileSync(join(dir, `lock.f${token.slice(1)}`), "");
    await (await ProcessLock.take(path, refuse)).release();
    assert.deepEqual(readdirSync(dir).sort(), [`lock.f${token.slice(1)}`, "lock.other", `unlock.${token}`]);
  });

  it("that cannot be read for a moment is still held", async () => {
    const lock = await ProcessLock.take(path, refuse);
    rmSync(path);
    mkdirSync(path); // EISDIR: as any failure to read
    assert.ok(await lock.isHeld());
    rmSync(path, { recursive: true });
    assert.ok(!(await lock.isHeld()));
    await lock.release();
  });

  describe("in a folder that other machines see", function () {
    this.timeout(30_000);
    const elsewhere = "4711 other-machine a-token\n";

    it("is not taken from a process elsewhere that shows that it lives", async () => {
      writeFileSync(path, elsewhere);
      let beats = 0;
      const timer = setInterval(() => utimesSync(path, new Date(), new Date(++beats)), 300);
      try {
        await assert.rejects(ProcessLock.take(path, refuse, { isShared: true }), /process 4711 has it/);
      } finally {
        clearInterval(timer);
      }
      assert.deepEqual(readdirSync(dir), ["lock"]);
    });

    it("is taken over from one that is silent for ten seconds, and is kept alive then", async () => {
      writeFileSync(path, elsewhere);
      const startMs = performance.now();
      const lock = await ProcessLock.take(path, refuse, { isShared: true });
      assert.ok(performance.now() - startMs > 9_000);
      const { mtimeMs } = statSync(path);
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      assert.ok(statSync(path).mtimeMs > mtimeMs);
      await lock.release();
      assert.deepEqual(readdirSync(dir), []);
    });

    it("knows that somebody else took it over, and leaves that one's alone", async () => {
      const lock = await ProcessLock.take(path, refuse, { isShared: true });
      assert.ok(await lock.isHeld());
      writeFileSync(path, elsewhere);
      utimesSync(path, 1, 1);
      assert.ok(!(await lock.isHeld()));
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      assert.equal(statSync(path).mtimeMs, 1_000); // it is not kept alive in that one's name
      await lock.release();
      assert.deepEqual(readdirSync(dir), ["lock"]);
    });
  });
});
