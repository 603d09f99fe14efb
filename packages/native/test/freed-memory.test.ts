import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import koffi from "koffi";
import { returnFreedMemory } from "../src/memory/libc.js";

const BLOCK_BYTES = 100_000;
const BLOCKS = 2000;

function anonymousMiB(): number {
  return Number(/RssAnon:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))![1]) / 1024;
}

describe("freed memory", () => {
  it("goes back to the system, although blocks between are in use", async function () {
    if (process.platform !== "linux") {
      console.log("      SKIPPED: glibc is asked to give memory back, and this is no Linux");
      return this.skip();
    }
    const libc = koffi.load("libc.so.6");
    const malloc = libc.func("malloc", "void *", ["size_t"]) as (bytes: number) => bigint;
    const memset = libc.func("memset", "void *", ["void *", "int", "size_t"]) as (...args: unknown[]) => bigint;
    const free = libc.func("free", "void", ["void *"]) as (address: bigint) => void;
    const blocks = Array.from({ length: BLOCKS }, () => memset(malloc(BLOCK_BYTES), 1, BLOCK_BYTES));
    for (const block of blocks.filter((_, i) => i % 2 === 0)) free(block);
    const before = anonymousMiB();
    await returnFreedMemory();
    const returned = before - anonymousMiB();
    for (const block of blocks.filter((_, i) => i % 2 === 1)) free(block);
    assert.ok(returned > 60, `${returned} of 95 MiB`);
  });
});
