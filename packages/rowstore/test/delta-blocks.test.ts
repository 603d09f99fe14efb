import assert from "node:assert/strict";
import { open } from "node:fs/promises";
import { isServingError } from "@shardserve/core";
import { tempDir } from "@shardserve/testkit";
import type { DeltaFile, OpenSegment } from "../src/index.js";
import { openDelta, writeDelta } from "./deltas.js";
import { randomRows, tableOf } from "./fixtures.js";

const ROWS = 700;
/** Rows of 4 KiB: one partition's are of three blocks. */
const TABLE = tableOf("a", ROWS, [1024]);
const BASE = { epoch: 0, digest: "0".repeat(32) };

describe("a delta whose rows are longer than a block", () => {
  const read = async (file: DeltaFile) => {
    const segment = (await file.segment(0)) as OpenSegment;
    const bytes = new Uint8Array(segment.layout.dataBytes);
    await file.readRows(segment, (offset, block) => bytes.set(block, offset));
    return bytes;
  };

  it("is read as it was written, and names the block that is damaged", async () => {
    await using dir = await tempDir();
    const rows = randomRows(TABLE, 3);
    const changes = [
      new Map(Array.from({ length: ROWS }, (_, id) => [id, rows.subarray(id * TABLE.rowBytes)] as const)),
    ];
    await writeDelta(dir.path, [TABLE], 1, { epoch: 1, parent: BASE, baseDigest: BASE.digest, changes, rows: [ROWS] });
    await using file = await openDelta(dir.path, [TABLE], 1);
    assert.equal(Buffer.compare(await read(file), rows), 0);
    const segment = (await file.segment(0)) as OpenSegment;
    assert.equal(segment.blockDigests.length, 3);
    const handle = await open(file.path, "r+");
    await handle.write(
      Uint8Array.of(rows[2 ** 20]! ^ 1),
      0,
      1,
      segment.segment.offset + segment.layout.headBytes + 2 ** 20,
    );
    await handle.close();
    await assert.rejects(
      read(file),
      (error) => isServingError(error, "CHECKSUM_MISMATCH") && /block 1 does not match/.test(error.message),
    );
  });
});
