import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  BundleEntryProtoSchema,
  BundleHeaderProtoSchema,
  create,
  type DataType,
  type MessageInitShape,
  toBinary,
} from "@shardserve/api";
import { type ErrorCode, isServingError } from "@shardserve/core";
import { bytesOf, strings, tensor } from "@shardserve/tensor";
import { TableWriter } from "../src/bundle/table-writer.js";
import { BundleReader, BundleWriter } from "../src/index.js";

type EntryInit = MessageInitShape<typeof BundleEntryProtoSchema>;

describe("a broken checkpoint", () => {
  let dir: string;
  let prefix: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "broken-"));
    prefix = join(dir, "variables");
  });
  afterEach(() => rm(dir, { recursive: true }));

  const refuses = (promise: Promise<unknown>, code: ErrorCode, pattern: RegExp) =>
    assert.rejects(promise, (error) => {
      assert.ok(isServingError(error, code), String(error));
      assert.match(error.message, pattern);
      return true;
    });

  async function writeGood(): Promise<void> {
    const writer = await BundleWriter.create(prefix);
    await writer.addTensor("a", tensor("float32", [4], Float32Array.of(1, 2, 3, 4)));
    await writer.addTensor("s", strings([2], ["hello", "world"]));
    await writer.finish();
  }

  async function writeIndex(
    entries: Record<string, EntryInit>,
    header: MessageInitShape<typeof BundleHeaderProtoSchema> = { numShards: 1 },
  ): Promise<void> {
    const table = new TableWriter();
    table.add(new Uint8Array(), toBinary(BundleHeaderProtoSchema, create(BundleHeaderProtoSchema, header)));
    for (const [key, entry] of Object.entries(entries))
      table.add(Buffer.from(key), toBinary(BundleEntryProtoSchema, create(BundleEntryProtoSchema, entry)));
    await writeFile(`${prefix}.index`, table.finish());
    await writeFile(`${prefix}.data-00000-of-00001`, new Uint8Array(64));
  }

  it("whose data file opens but cannot be read is refused by its name", async () => {
    await writeGood();
    const path = `${prefix}.data-00000-of-00001`;
    await rm(path);
    await mkdir(path); // has a size, and opens like a file
    for (const name of ["x", "y", "z"]) await writeFile(join(path, name), "");
    await using reader = await BundleReader.open(prefix);
    await refuses(reader.read("a"), "CHECKPOINT_INVALID", /data-00000-of-00001 cannot be read: EISDIR/);
    await refuses(reader.verify(), "CHECKPOINT_INVALID", /data-00000-of-00001 cannot be read: EISDIR/);
  });

  it("is named when a data file is truncated or absent", async () => {
    await writeGood();
    await truncate(`${prefix}.data-00000-of-00001`, 20);
    await refuses(
      BundleReader.open(prefix),
      "CHECKPOINT_INVALID",
      /data-00000-of-00001 has 20 bytes, tensor "s" ends at byte 32/,
    );
    await rm(`${prefix}.data-00000-of-00001`);
    await refuses(BundleReader.open(prefix), "CHECKPOINT_INVALID", /data-00000-of-00001 cannot be read/);
  });

  it("is refused where a bit of its data flipped", async () => {
    await writeGood();
    const path = `${prefix}.data-00000-of-00001`;
    const good = await readFile(path);
    for (let at = 0; at < good.length; at++) {
      const bad = Buffer.from(good);
      bad[at]! ^= 4;
      await writeFile(path, bad);
      await using reader = await BundleReader.open(prefix);
      await assert.rejects(
        reader.read(at < 16 ? "a" : "s"),
        (error) => isServingError(error, "CHECKSUM_MISMATCH", "CHECKPOINT_INVALID"),
        `byte ${at}`,
      );
      await assert.rejects(reader.verify());
    }
  });

  it("is refused where a bit of its index flipped", async () => {
    await writeGood();
    const path = `${prefix}.index`;
    const good = await readFile(path);
    for (let at = 0; at < good.length; at++) {
      const bad = Buffer.from(good);
      bad[at]! ^= 4;
      await writeFile(path, bad);
      const opened = BundleReader.open(prefix).then((reader) => reader.close());
      // Only the metaindex's handle and its block, which nothing reads, may change unnoticed.
      await opened.catch((error: unknown) =>
        assert.ok(isServingError(error, "CHECKSUM_MISMATCH", "CHECKPOINT_INVALID"), String(error)),
      );
    }
  });

  it("is refused when its index is no table", async () => {
    await writeFile(`${prefix}.index`, new Uint8Array(10));
    await refuses(BundleReader.open(prefix), "CHECKPOINT_INVALID", /variables\.index, byte 0: 10 bytes are too few/);
    await writeFile(`${prefix}.index`, new Uint8Array(100));
    await refuses(BundleReader.open(prefix), "CHECKPOINT_INVALID", /byte 92: the magic number/);
  });

  it("is refused when big-endian", async () => {
    await writeIndex({}, { numShards: 1, endianness: 1 });
    await refuses(BundleReader.open(prefix), "CHECKPOINT_INVALID", /big-endian, which is not read/);
  });

  it("is refused when an entry is impossible", async () => {
    const shape = { dim: [{ size: 4n }] };
    const cases: [EntryInit, RegExp][] = [
      [{ dtype: 1, shape, size: 12n }, /12 bytes stored for float32 of shape \[4\]/],
      [{ dtype: 1, shape: { dim: [{ size: -4n }] }, size: 16n }, /shape \[-4\] is impossible/],
      [{ dtype: 1, shape: { dim: [{ size: 2n ** 40n }, { size: 2n ** 40n }] }, size: 16n }, /is impossible/],
      [{ dtype: 1, shape, size: 16n, offset: -1n }, /16 bytes at -1/],
      [{ dtype: 1, shape, size: 16n, shardId: 3 }, /data file 3 of 1/],
      [{ dtype: 99 as DataType, shape, size: 16n }, /DataType 99/],
      [{ dtype: 1, shape, slices: [{ extent: [] }] }, /another rank/],
      [
        { dtype: 1, shape, slices: [{ extent: [{ start: 2n, hasLength: { case: "length", value: 3n } }] }] },
        /exceeds shape/,
      ],
      [
        { dtype: 1, shape, slices: [{ extent: [{ start: 0n, hasLength: { case: "length", value: 2n } }] }] },
        /slice 0:2 is missing/,
      ],
    ];
    for (const [entry, pattern] of cases) {
      await writeIndex({ x: entry });
      await refuses(BundleReader.open(prefix), "CHECKPOINT_INVALID", pattern);
    }
  });

  it("is refused when slices overlap", async () => {
    const writer = await BundleWriter.create(prefix);
    const part = bytesOf(Float32Array.of(1, 2, 3, 4));
    await writer.addSlice("p", "float32", [2, 4], { start: [0, 0], shape: [2, 2] }, part);
    await writer.addSlice("p", "float32", [2, 4], { start: [0, 1], shape: [2, 2] }, part);
    await writer.finish();
    await using reader = await BundleReader.open(prefix);
    await refuses(reader.read("p"), "CHECKPOINT_INVALID", /overlap or leave gaps/);
  });

  it("is not read whole above the limit", async () => {
    await writeGood();
    await using reader = await BundleReader.open(prefix);
    await refuses(
      reader.read("a", { bytesMax: 15 }),
      "MODEL_TOO_LARGE",
      /has 16 bytes, the limit for reading it whole is 15/,
    );
    await refuses(reader.readRange("a", 8, 16), "INVALID_ARGUMENT", /exceed the tensor/);
    await refuses(reader.read("nothing"), "CHECKPOINT_INVALID", /has no tensor "nothing"/);
  });

  it("never replaces one that is there", async () => {
    await writeGood();
    await refuses(BundleWriter.create(prefix), "OUTPUT_EXISTS", /data-00000-of-00001 exists/);
  });
});
