import assert from "node:assert/strict";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { loadOrt } from "@shardserve/native";

const { loadThread } = loadOrt();

describe("LoadThread", () => {
  let work: string;
  beforeEach(() => void (work = mkdtempSync(join(tmpdir(), "load-thread-"))));
  afterEach(() => rmSync(work, { recursive: true }));

  it("computes the checksum of bytes of a file, in one piece or in several", async () => {
    const path = join(work, "data");
    const bytes = Buffer.alloc(1_000_000, "0123456789");
    bytes.write("123456789", 10); // of which everybody knows the crc32c
    writeFileSync(path, bytes);
    assert.equal(await loadThread.checksumOf(path, 10, 9, 0), 0xe306_9283);
    const whole = await loadThread.checksumOf(path, 3, 900_000, 0);
    const first = await loadThread.checksumOf(path, 3, 300_001, 0);
    assert.equal(await loadThread.checksumOf(path, 300_004, 599_999, first), whole);
  });

  it("says what it cannot read, and goes on", async () => {
    const path = join(work, "short");
    writeFileSync(path, Buffer.alloc(100));
    truncateSync(path, 50);
    const [short, missing, good] = await Promise.allSettled([
      loadThread.checksumOf(path, 0, 100, 0),
      loadThread.checksumOf(join(work, "absent"), 0, 1, 0),
      loadThread.checksumOf(path, 0, 50, 0),
    ]);
    assert.ok(short.status === "rejected" && isServingError(short.reason, "CHECKPOINT_INVALID"));
    assert.match(short.reason.message, /short ends at byte 50/);
    assert.ok(missing.status === "rejected" && isServingError(missing.reason, "CHECKPOINT_INVALID"));
    assert.equal(good.status, "fulfilled");
  });
});
