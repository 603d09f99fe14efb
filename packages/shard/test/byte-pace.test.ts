import assert from "node:assert/strict";
import { BytePace, type Clock } from "@shardserve/core";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { tempDir } from "@shardserve/testkit";
import { type Move, PacedMoves } from "../src/files/paced-moves.js";
import { RepositoryFiles } from "../src/files/version-files.js";

/** Time that passes as soon as somebody waits for it. */
class QuickClock implements Clock {
  ms = 0;
  nowMs = () => this.ms;
  wallMs = () => this.ms;
  after(delayMs: number, run: () => void): () => void {
    const endMs = this.ms + delayMs;
    const timer = setImmediate(() => {
      this.ms = Math.max(this.ms, endMs);
      run();
    });
    return () => clearImmediate(timer);
  }
}

describe("pace of bytes", () => {
  const { signal } = new AbortController();

  it("spreads them over time, within a second too, and saves nothing up for a burst", async () => {
    const clock = new QuickClock();
    const pace = new BytePace(1_000_000, clock);
    const takenAtMs: number[] = [];
    for (let i = 0; i < 30; i++) {
      await pace.take(pace.pieceBytes, signal);
      takenAtMs.push(clock.ms);
    }
    assert.deepEqual(
      takenAtMs,
      Array.from({ length: 30 }, (_, i) => i * 100),
    );
    clock.ms += 60_000;
    await pace.take(pace.pieceBytes, signal);
    const startMs = clock.ms;
    for (let i = 0; i < 10; i++) await pace.take(pace.pieceBytes, signal);
    assert.equal(clock.ms - startMs, 1_000);
  });

  it("holds over all moves of a shard, which come one after another and leave out what nobody wants any more", async () => {
    await using dir = await tempDir();
    await mkdir(join(dir.path, "partitions"));
    const clock = new QuickClock();
    const moves = new PacedMoves(new BytePace(1_000_000, clock));
    const files = new RepositoryFiles(dir.path);
    const log: string[] = [];
    const move = (path: string, isWanted: boolean): Promise<void> =>
      new Promise((resolve) => {
        const wish: Move = {
          files,
          path,
          isWanted: () => isWanted,
          onFetched: () => {
            log.push(`${path} at ${clock.ms}`);
            resolve();
          },
          onFailed: ({ code }) => {
            log.push(`${path} ${code}`);
            resolve();
          },
        };
        moves.fetch(wish);
        moves.fetch(wish); // is under way already
        if (!isWanted) resolve();
      });
    for (const name of ["a", "b", "c"]) await writeFile(join(dir.path, name), new Uint8Array(2_000_000));
    await Promise.all([move("a", true), move("b", false), move("gone", true), move("c", true)]);
    // Two seconds each, but for the last piece, which nobody waits behind.
    assert.deepEqual(log, ["a at 1900", "gone NOT_FOUND", "c at 3900"]);
    await moves.close();
  });
});
