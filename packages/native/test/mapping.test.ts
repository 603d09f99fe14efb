import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { adviseHugePages, allocate, mapFile, PAGE_BYTES, reserveAddresses } from "../src/index.js";

describe("mapping", () => {
  const dir = mkdtempSync(join(tmpdir(), "native-map-"));
  const path = join(dir, "file");
  const content = Uint8Array.from({ length: 3 * PAGE_BYTES + 100 }, (_, i) => (i * 7) % 251);
  writeFileSync(path, content);
  after(() => rmSync(dir, { recursive: true }));

  it("maps any range of a file", async () => {
    for (const [offset, length] of [
      [0, content.length],
      [1, 10],
      [PAGE_BYTES, PAGE_BYTES],
      [PAGE_BYTES + 3, 2 * PAGE_BYTES],
      [content.length, 0],
    ] as const) {
      using file = mapFile(path, { offset, length });
      assert.deepEqual(file.memory.slice(0, length), content.slice(offset, offset + length));
      file.memory.advise("willNeed");
      await file.memory.populate();
    }
    using whole = mapFile(path);
    assert.equal(whole.memory.byteLength, content.length);
    assert.deepEqual(whole.memory.part(5, 20).slice(1, 3), content.slice(6, 9));
    assert.throws(() => whole.memory.slice(1, content.length), /range/);
  });

  it("refuses what a file does not have", () => {
    assert.throws(
      () => mapFile(path, { offset: 10, length: content.length }),
      (error) => isServingError(error, "INVALID_ARGUMENT"),
    );
    assert.throws(
      () => mapFile(join(dir, "absent")),
      (error) => isServingError(error, "NOT_FOUND") && error.message.includes("absent"),
    );
  });

  it("puts files side by side in one range of addresses, and takes them out again", () => {
    const range = reserveAddresses(2 ** 40);
    const fd = openSync(path, "r");
    const far = 2 ** 39;
    range.mapFile(fd, 0, PAGE_BYTES, far + PAGE_BYTES);
    range.mapFile(fd, PAGE_BYTES, 2 * PAGE_BYTES, far + 2 * PAGE_BYTES);
    closeSync(fd);
    assert.deepEqual(range.view(far + PAGE_BYTES, 3 * PAGE_BYTES), content.slice(0, 3 * PAGE_BYTES));
    range.unmap(far + PAGE_BYTES, PAGE_BYTES);
    assert.deepEqual(range.view(far + 2 * PAGE_BYTES, 9), content.slice(PAGE_BYTES, PAGE_BYTES + 9));
    range.close();
    range.close();
  });

  it("allocates zeroed memory that can be written", () => {
    const memory = allocate(100_000);
    assert.ok(memory.bytes.every((byte) => byte === 0));
    memory.bytes.fill(7);
    assert.equal(memory.slice(99_999, 1)[0], 7);
    memory.advise("dontNeed");
    memory.free();
    memory.free();
  });

  it("leaves memory as it was when huge pages are asked for, whether or not there are any", () => {
    const whole = new Int32Array(2 ** 21 + 100);
    const view = whole.subarray(37); // begins inside a page
    view[0] = 1;
    view[view.length - 1] = 2;
    adviseHugePages(view);
    assert.equal(view[0], 1);
    assert.equal(view[view.length - 1], 2);
    view.fill(3);
    assert.ok(whole.subarray(0, 37).every((word) => word === 0));
    assert.equal(adviseHugePages(new Int32Array(100)), false, "too small for one");
    assert.equal(adviseHugePages(new Int32Array(0)), false);
  });
});
