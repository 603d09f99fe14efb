import assert from "node:assert/strict";
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readAt, writeAt } from "../src/index.js";

/** A file whose calls do three bytes at the most. */
function haltingFile(file: FileHandle): FileHandle {
  const halting = {
    read: (into: Uint8Array, at: number, length: number, offset: number) =>
      file.read(into, at, Math.min(3, length), offset),
    write: (bytes: Uint8Array, at: number, length: number, offset: number) =>
      file.write(bytes, at, Math.min(3, length), offset),
  };
  return halting as unknown as FileHandle;
}

describe("bytes of a file at an offset", () => {
  let directory: string;
  let file: FileHandle;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "file-bytes-"));
    file = await open(join(directory, "file"), "w+");
  });
  after(async () => {
    await file.close();
    await rm(directory, { recursive: true });
  });

  it("are all written and all read, however little one call does", async () => {
    await writeAt(haltingFile(file), Buffer.from("embedding"), 2);
    const read = Buffer.alloc(9);
    assert.equal(await readAt(haltingFile(file), read, 2), 9);
    assert.equal(read.toString(), "embedding");
  });

  it("are read as far as the file goes, and nothing behind them is touched", async () => {
    const read = Buffer.from("........");
    assert.equal(await readAt(haltingFile(file), read, 7), 4);
    assert.equal(read.toString(), "ding....");
  });
});
