import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isServingError, seededRandom, systemRandom } from "@shardserve/core";
import { bytesOf, strings, tensor } from "@shardserve/tensor";
import { checksum, maskChecksum } from "../src/bundle/checksum.js";
import {
  attr,
  BundleReader,
  BundleWriter,
  GraphBuilder,
  objectKeys,
  readSavedModel,
  selectMetaGraph,
  variableBindings,
  writeSavedModel,
} from "../src/index.js";

const budgetMs = Number(process.env["FUZZ_MS"] ?? 300);
/** One read must end within this, and may take this much memory: inputs have a few kilobytes. */
const MS_MAX = 2000;
const HEAP_BYTES_MAX = 64 * 2 ** 20;

describe("file formats under fuzz", function () {
  this.timeout(budgetMs + 60_000);
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "fuzz-"));
    const graph = new GraphBuilder();
    const x = graph.placeholder("x", "float32", [-1, 2]);
    const w = graph.variable("w", "float32", [2, 2]);
    graph.node("MatMul", [x, graph.read(w, "float32")], { attrs: { T: attr.type("float32") } });
    await writeSavedModel(dir, graph.savedModel({}), {
      bundle: { table: { blockBytes: 64 } },
      variables: async (writer: BundleWriter) => {
        await writer.addTensor("w", tensor("float32", [2, 2], Float32Array.of(1, 2, 3, 4)));
        await writer.addTensor("s", strings([2], ["a", "b"]));
        for (const start of [0, 2])
          await writer.addSlice(
            "p",
            "float32",
            [4, 2],
            { start: [start, 0], shape: [2, 2] },
            bytesOf(Float32Array.of(1, 2, 3, 4)),
          );
      },
    });
  });
  after(() => rm(dir, { recursive: true }));

  it("saved_model.pb: a model or a ServingError, in bounded time and memory", () =>
    fuzz(
      "saved_model.pb",
      (bytes) => bytes,
      async () => {
        const model = await readSavedModel(dir);
        const entries = new Map([["w", { crc32c: 0, size: 16, dtype: "float32" as const, shape: [4] }]]);
        variableBindings(selectMetaGraph(model), entries);
      },
    ));

  it("variables.index: a checkpoint or a ServingError, in bounded time and memory", () =>
    fuzz("variables/variables.index", repairChecksums, async () => {
      await using reader = await BundleReader.open(join(dir, "variables", "variables"));
      await objectKeys(selectMetaGraph(await readSavedModel(dir)), reader);
      await reader.verify();
      for (const key of reader.entries.keys()) await reader.read(key, { bytesMax: 2 ** 20 });
    }));

  async function fuzz(
    file: string,
    repair: (bytes: Uint8Array) => Uint8Array,
    read: () => Promise<void>,
  ): Promise<void> {
    const path = join(dir, file);
    const good = await readFile(path);
    const seed = systemRandom().uint32();
    const random = seededRandom(seed);
    try {
      for (const endMs = performance.now() + budgetMs; performance.now() < endMs; ) {
        const bytes = repair(mutate(good, () => random.uint32()));
        await writeFile(path, bytes);
        const heapBytes = process.memoryUsage().heapUsed;
        const startMs = performance.now();
        await read().catch((error: unknown) => {
          assert.ok(
            isServingError(error),
            `seed ${seed}, ${Buffer.from(bytes).toString("base64")}: ${(error as Error).stack}`,
          );
        });
        assert.ok(
          performance.now() - startMs < MS_MAX,
          `seed ${seed}: slow for ${Buffer.from(bytes).toString("base64")}`,
        );
        assert.ok(process.memoryUsage().heapUsed - heapBytes < HEAP_BYTES_MAX, `seed ${seed}: heap`);
      }
    } finally {
      await writeFile(path, good);
    }
  }
});

function mutate(source: Uint8Array, uint32: () => number): Uint8Array {
  let bytes = [...source];
  for (let i = uint32() % 6; i >= 0; i--) {
    const at = uint32() % (bytes.length + 1);
    const kind = uint32() % 5;
    if (kind === 0) bytes.splice(at, 1 + (uint32() % 8));
    else if (kind === 1) bytes.splice(at, 0, uint32() & 0xff, uint32() & 0xff);
    else if (kind === 2) bytes = bytes.slice(0, Math.max(at, bytes.length - 64));
    else if (at < bytes.length) bytes[at] = kind === 3 ? uint32() & 0xff : bytes[at]! ^ (1 << (uint32() & 7));
  }
  return Uint8Array.from(bytes);
}

/** Makes the checksums of the blocks right again, where blocks can still be found, so that the fuzz reaches what is in them. */
function repairChecksums(bytes: Uint8Array): Uint8Array {
  const view = Buffer.from(bytes);
  if (view.length < 48) return view;
  const handles: [number, number][] = [];
  let at = view.length - 48;
  const number = () => {
    let value = 0;
    for (let scale = 1; at < view.length; scale *= 128) {
      const byte = view[at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
    }
    return value;
  };
  for (let i = 0; i < 2; i++) handles.push([number(), number()]);
  const [offset, size] = handles[1]!;
  for (at = offset; at < offset + size && at < view.length; ) {
    const [, unshared] = [number(), number(), number()];
    at += unshared!;
    handles.push([number(), number()]);
  }
  for (const [start, length] of handles) {
    if (start + length + 5 > view.length) continue;
    view.writeUInt32LE(maskChecksum(checksum(view.subarray(start, start + length + 1))), start + length + 1);
  }
  return view;
}
