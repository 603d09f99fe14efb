import assert from "node:assert/strict";
import { copyFile, open, readFile, truncate } from "node:fs/promises";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { tempDir } from "@shardserve/testkit";
import { BLOCK_BYTES, PartitionFile, PartitionFileWriter, partitionLayout } from "../src/index.js";
import { flipByte, randomRows, tableOf } from "./fixtures.js";

describe("partition file", () => {
  const tables = [tableOf("wide", 9000, [100]), tableOf("bytes", 77, [3], "uint8"), tableOf("also", 3000, [100])];
  const layout = partitionLayout(tables, 1);
  const content = tables.map((table, i) => randomRows(table, i));

  async function write(path: string, chunkBytes: number): Promise<string> {
    const writer = await PartitionFileWriter.create(path, 0, layout);
    for (const { table } of layout.sections) {
      for (let at = 0; at < content[table]!.length; at += chunkBytes) {
        await writer.append(content[table]!.subarray(at, at + chunkBytes));
      }
    }
    const { digest, bytes } = await writer.finish();
    assert.equal(bytes, layout.fileBytes);
    return digest;
  }

  it("is the same however its rows arrive, and reads back", async () => {
    await using dir = await tempDir();
    const path = join(dir.path, "a.rows");
    const digest = await write(path, 4096);
    for (const chunk of [1000, BLOCK_BYTES, 10 * BLOCK_BYTES]) {
      const other = join(dir.path, `${chunk}.rows`);
      assert.equal(await write(other, chunk), digest);
      assert.ok((await readFile(other)).equals(await readFile(path)));
    }
    const bytes = await readFile(path);
    for (const { table, offset } of layout.sections) {
      const stored = bytes.subarray(offset, offset + content[table]!.length);
      assert.ok(stored.equals(content[table]!), `table ${table}`);
    }
    const file = await PartitionFile.open(path);
    await file.verify();
    assert.equal(file.digest, digest);
    await file.close();
  });

  it("refuses every kind of damage, naming file and block", async () => {
    await using dir = await tempDir();
    const good = join(dir.path, "good.rows");
    const digest = await write(good, 1 << 16);
    const path = join(dir.path, "bad.rows");
    const openAndVerify = async () => {
      const file = await PartitionFile.open(path);
      try {
        assert.equal(file.digest, digest, "digest");
        await file.verify();
      } finally {
        await file.close();
      }
    };
    const inData = [0, 5, BLOCK_BYTES, 3 * BLOCK_BYTES + 77, layout.dataBytes - 1];
    for (const at of inData) {
      await copyFile(good, path);
      await flipByte(path, layout.headerBytes + at);
      await assert.rejects(openAndVerify(), (error) => {
        assert.ok(isServingError(error, "CHECKSUM_MISMATCH"));
        assert.ok(error.message.includes(path) && error.message.includes(`block ${Math.floor(at / BLOCK_BYTES)} `));
        return true;
      });
    }
    for (const at of [0, 8, 12, 20, 30, 44, 63, 64, 70, 3000, layout.fileBytes - 1, layout.fileBytes - 20]) {
      await copyFile(good, path);
      await flipByte(path, at);
      await assert.rejects(openAndVerify(), `byte ${at}`);
    }
    for (const size of [0, 10, 64, 5000, layout.fileBytes - 1, layout.fileBytes + 1]) {
      await copyFile(good, path);
      await truncate(path, size);
      await assert.rejects(openAndVerify(), (error) => isServingError(error, "PARTITION_INVALID"));
    }
    await assert.rejects(PartitionFile.open(join(dir.path, "none")), (error) => isServingError(error, "NOT_FOUND"));
  });

  it("goes on after an interruption, and not from other bytes than it wrote", async () => {
    await using dir = await tempDir();
    const whole = await write(join(dir.path, "whole.rows"), 1 << 16);
    const path = join(dir.path, "part.rows");
    const first = layout.sections[0]!;
    const half = 1_234_000; // inside a block
    let writer = await PartitionFileWriter.create(path, 0, layout);
    await writer.append(content[first.table]!.subarray(0, half));
    const state = structuredClone(writer.checkpoint());
    await writer.append(content[first.table]!.subarray(half, half + 400_000)); // not recorded
    await writer.close();

    const spoiled = join(dir.path, "spoiled.rows");
    for (const at of [layout.headerBytes + 10, layout.headerBytes + half - 1, 12]) {
      await copyFile(path, spoiled);
      await flipByte(spoiled, at);
      await assert.rejects(PartitionFileWriter.resume(spoiled, 0, layout, state), (error) =>
        isServingError(error, "PARTITION_INVALID"),
      );
    }
    writer = await PartitionFileWriter.resume(path, 0, layout, state);
    assert.equal(writer.dataBytes, half);
    await writer.append(content[first.table]!.subarray(half));
    const state2 = writer.checkpoint(); // after padding between groups
    await writer.close();
    writer = await PartitionFileWriter.resume(path, 0, layout, state2);
    for (const { table } of layout.sections.slice(1)) await writer.append(content[table]!);
    assert.equal((await writer.finish()).digest, whole);
    assert.ok((await readFile(path)).equals(await readFile(join(dir.path, "whole.rows"))));
  });

  it("never writes over a file, and never finishes short", async () => {
    await using dir = await tempDir();
    const path = join(dir.path, "x.rows");
    await (await open(path, "w")).close();
    await assert.rejects(PartitionFileWriter.create(path, 0, layout), /EEXIST/);
    const writer = await PartitionFileWriter.create(join(dir.path, "y.rows"), 0, layout);
    await assert.rejects(writer.append(new Uint8Array(content[0]!.length + 1)), /exceed/);
    await assert.rejects(writer.finish(), /were written/);
    await writer.close();
    await writer.close();
  });

  it("has the bytes that docs/formats.md describes, today as in version 1", async () => {
    await using dir = await tempDir();
    const small = [tableOf("a", 5, [2]), tableOf("b", 3, [], "int64"), tableOf("c", 2, [3], "uint8")];
    const path = join(dir.path, "golden.rows");
    const writer = await PartitionFileWriter.create(path, 1, partitionLayout(small, 2));
    await writer.append(Uint8Array.from({ length: 24 }, (_, i) => i + 1));
    await writer.append(Uint8Array.from({ length: 16 }, (_, i) => i + 101));
    await writer.append(Uint8Array.from([201, 202, 203]));
    const { digest, bytes } = await writer.finish();
    const file = await readFile(path);
    assert.equal(bytes, 4096 + 2 * 4096 + 8 + 16);
    assert.equal(file.subarray(0, 8).toString(), "SHRDROWS");
    assert.equal(file.subarray(-8).toString(), "SHRDFOOT");
    const entry = (i: number) => {
      const at = 64 + 32 * i;
      const word = (offset: number) => Number(file.readBigUInt64LE(at + offset));
      return [file.readUInt32LE(at), file.readUInt32LE(at + 4), word(8), word(16), word(24)];
    };
    assert.deepEqual([0, 1, 2].map(entry), [
      [0, 8, 3, 4096, 0],
      [1, 8, 2, 4120, 0],
      [2, 3, 1, 8192, 0],
    ]);
    assert.equal(file[4120], 101);
    assert.equal(file[8192], 201);
    assert.equal(digest, "b657963401f464f3022bcccb15d2cc13");
  });

  it("takes a layout without rows", async () => {
    await using dir = await tempDir();
    const empty = partitionLayout([tableOf("none", 0, [4])], 3);
    const writer = await PartitionFileWriter.create(join(dir.path, "e.rows"), 2, empty);
    const { digest } = await writer.finish();
    const file = await PartitionFile.open(join(dir.path, "e.rows"));
    await file.verify();
    assert.equal(file.digest, digest);
    await file.close();
  });
});
