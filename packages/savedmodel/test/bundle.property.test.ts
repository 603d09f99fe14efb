import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  bytesOf,
  dataFromBytes,
  type DType,
  DTYPES,
  elementCount,
  isNumeric,
  type NumericData,
  type NumericDType,
  type StringColumn,
  strings,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import fc from "fast-check";
import { BundleReader, BundleWriter } from "../src/index.js";
import { snappyLiteral } from "./snappy-literal.js";

const dtypes = (Object.keys(DTYPES) as DType[]).filter(isNumeric);
const shapes = fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 4 });
const keys = fc
  .oneof(
    fc.string({ minLength: 1, maxLength: 40, unit: "grapheme" }),
    fc.constantFrom("a/b/.ATTRIBUTES/VARIABLE_VALUE", "a", "a/b"),
  )
  .filter((key) => !key.startsWith("\0"));

const numeric = fc.tuple(fc.constantFrom(...dtypes), shapes).chain(([dtype, shape]) => {
  const byteCount = elementCount(shape) * DTYPES[dtype].bytes;
  return fc
    .uint8Array({ minLength: byteCount, maxLength: byteCount })
    .map((bytes): Tensor => tensor<NumericDType>(dtype, shape, dataFromBytes(dtype, bytes)));
});
const texts = shapes.chain((shape) =>
  fc
    .array(fc.uint8Array({ maxLength: 200 }), { minLength: elementCount(shape), maxLength: elementCount(shape) })
    .map((values): Tensor => strings(shape, values)),
);

/** A grid over a shape: the cuts of each dimension. */
const partitioned = fc
  .array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 3 })
  .chain((shape) =>
    fc.tuple(
      fc.constant(shape),
      fc.tuple(
        ...shape.map((dim) => fc.uniqueArray(fc.integer({ min: 1, max: Math.max(1, dim - 1) }), { maxLength: 3 })),
      ),
    ),
  );

describe("checkpoint round trip", () => {
  let dir: string;
  before(async () => void (dir = await mkdtemp(join(tmpdir(), "bundle-"))));
  after(() => rm(dir, { recursive: true }));
  let count = 0;

  it("gives back every tensor, whatever keys, dtypes, data files, block sizes and compression", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.tuple(keys, fc.oneof(numeric, texts)), { selector: ([key]) => key, maxLength: 30 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 500 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 100 }),
        async (tensors, shardCount, blockBytes, compressed, chunkBytes) => {
          const prefix = join(dir, String(count++), "variables");
          const table = compressed ? { blockBytes, compress: snappyLiteral } : { blockBytes };
          const writer = await BundleWriter.create(prefix, { shardCount, table });
          for (const [key, value] of tensors) await writer.addTensor(key, value);
          await writer.finish();
          await using reader = await BundleReader.open(prefix);
          assert.deepEqual(new Set(reader.entries.keys()), new Set(tensors.map(([key]) => key)));
          await reader.verify();
          for (const [key, value] of tensors) {
            const back = await reader.read(key);
            assert.equal(back.dtype, value.dtype);
            assert.deepEqual(back.shape, value.shape);
            assert.deepEqual(contentOf(back), contentOf(value));
            if (value.dtype === "string") continue;
            const chunks: Buffer[] = [];
            for await (const chunk of reader.stream(key, { chunkBytes })) chunks.push(Buffer.from(chunk));
            assert.equal(Buffer.concat(chunks).toString("hex"), contentOf(value));
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it("puts slices together as an element-wise copy does", async () => {
    await fc.assert(
      fc.asyncProperty(
        partitioned,
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 64 }),
        async ([shape, cuts], shardCount, chunkBytes) => {
          const full = Float32Array.from({ length: elementCount(shape) }, (_, i) => i);
          const prefix = join(dir, String(count++), "variables");
          const writer = await BundleWriter.create(prefix, { shardCount });
          for (const box of gridOf(shape, cuts))
            await writer.addSlice("p/emb", "float32", shape, box, bytesOf(boxOf(full, shape, box)));
          await writer.finish();
          await using reader = await BundleReader.open(prefix);
          const chunks: Buffer[] = [];
          for await (const chunk of reader.stream("p/emb", { chunkBytes })) chunks.push(Buffer.from(chunk));
          assert.equal(Buffer.concat(chunks).toString("hex"), Buffer.from(bytesOf(full)).toString("hex"));
          if (full.length > 0) {
            const at = 4 * (full.length >> 1);
            const length = 4 * Math.ceil((full.length - full.length / 2) / 2);
            const part = Buffer.from(await reader.readRange("p/emb", at, length)).toString("hex");
            assert.equal(part, Buffer.from(bytesOf(full).slice(at, at + length)).toString("hex"));
          }
          const copyPrefix = join(dir, String(count++), "variables");
          const copier = await BundleWriter.create(copyPrefix);
          await copier.copy(reader, "p/emb");
          await copier.finish();
          await using copied = await BundleReader.open(copyPrefix);
          assert.deepEqual((await copied.read("p/emb")).data, full);
          assert.equal(copied.entry("p/emb").slices?.length, reader.entry("p/emb").slices?.length);
        },
      ),
      { numRuns: 60 },
    );
  });
});

interface Box {
  readonly start: number[];
  readonly shape: number[];
}

function gridOf(shape: readonly number[], cuts: readonly (readonly number[])[]): Box[] {
  let boxes: Box[] = [{ start: [], shape: [] }];
  shape.forEach((dim, i) => {
    const edges = [0, ...cuts[i]!.filter((cut) => cut < dim).sort((a, b) => a - b), dim];
    boxes = boxes.flatMap((box) =>
      edges.slice(1).map((end, k) => ({ start: [...box.start, edges[k]!], shape: [...box.shape, end - edges[k]!] })),
    );
  });
  return boxes;
}

/** The slow twin: one element at a time. */
function boxOf(full: Float32Array, shape: readonly number[], box: Box): Float32Array {
  return Float32Array.from({ length: elementCount(box.shape) }, (_, i) => {
    let rest = i;
    let at = 0;
    let stride = 1;
    for (let dim = shape.length - 1; dim >= 0; dim--) {
      at += ((rest % box.shape[dim]!) + box.start[dim]!) * stride;
      rest = Math.floor(rest / box.shape[dim]!);
      stride *= shape[dim]!;
    }
    return full[at]!;
  });
}

function contentOf(value: Tensor): unknown {
  if (value.dtype !== "string") return Buffer.from(bytesOf(value.data as NumericData)).toString("hex");
  const column = value.data as StringColumn;
  return Array.from({ length: column.length }, (_, i) => Buffer.from(column.at(i)).toString("hex"));
}
