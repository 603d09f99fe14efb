import assert from "node:assert/strict";
import { join } from "node:path";
import { ServingError, seededRandom, systemRandom } from "@shardserve/core";
import { REPO_DIR } from "@shardserve/testkit";
import { type HloModule, type HloRegion, readSavedModel, readStableHlo } from "../src/index.js";

const FUZZ_MS = Number(process.env["FUZZ_MS"] ?? 300);
/** One read must end within this, and may take this much memory: modules here have a few kilobytes. */
const MS_MAX = 2000;
const HEAP_BYTES_MAX = 64 * 2 ** 20;

/** The modules of a SavedModel that JAX exported. */
async function modulesOf(name: string): Promise<Uint8Array[]> {
  const { message } = await readSavedModel(join(REPO_DIR, "test/fixtures/strangers", name, "1"));
  const functions = message.metaGraphs.flatMap(({ graphDef }) => graphDef?.library?.function ?? []);
  return functions
    .flatMap(({ nodeDef }) => nodeDef)
    .filter(({ op }) => op === "XlaCallModule")
    .map(({ attr }) => attr["module"]!.value.value as Uint8Array);
}

function ops(region: HloRegion): string[] {
  return region.ops.flatMap((op) => [op.name, ...op.regions.flatMap(ops)]);
}

function allOps(module: HloModule): string[] {
  return [...module.functions.values()].flatMap(({ body }) => ops(body));
}

describe("StableHLO artifacts", function () {
  this.timeout(FUZZ_MS * 4 + 60_000);
  let mlp: Uint8Array;
  before(async () => {
    const ofAnyBatch = (bytes: Uint8Array) => allOps(readStableHlo(bytes)).includes("get_dimension_size");
    mlp = (await modulesOf("jax-mlp")).find(ofAnyBatch)!;
  });

  it("an exported model: functions, types, attributes, constants", () => {
    const module = readStableHlo(mlp);
    const main = module.functions.get("main")!.body;
    const input = main.args.at(-1)!.type;
    assert.ok(input.kind === "tensor");
    assert.deepEqual([input.shape, input.element.dtype], [[-1, 4], "float32"]);
    const size = main.ops.find(({ name }) => name === "get_dimension_size")!;
    assert.equal(size.attrs.int("dimension"), 0);
    assert.equal(size.operands[0], main.args.at(-1));
    const check = main.ops.find(({ name }) => name === "custom_call")!;
    assert.equal(check.attrs.text("call_target_name"), "shape_assertion");
    const inner = [...module.functions.values()].flatMap(({ body }) => body.ops);
    const product = inner.find(({ name }) => name === "dot_general")!;
    assert.deepEqual(product.attrs.ints("lhs_contracting_dimensions"), [1]);
    const reduce = inner.find(({ name }) => name === "reduce")!;
    assert.deepEqual([reduce.attrs.ints("dimensions"), reduce.regions[0]!.args.length], [[1], 2]);
    const constant = inner.find(({ name, results }) => name === "constant" && results[0]!.type.kind === "tensor")!;
    assert.ok(constant.attrs.tensor("value").bytes.length >= 4);
  });

  it("loops and branches: regions inside regions use values of those around them", async () => {
    const names = (await modulesOf("jax-recurrent")).flatMap((bytes) => allOps(readStableHlo(bytes)));
    for (const name of ["while", "case", "return"]) assert.ok(names.includes(name), name);
  });

  it("an attribute that is absent or of another kind is an error that names it and the op", () => {
    const [op] = readStableHlo(mlp)
      .functions.get("main")!
      .body.ops.filter(({ name }) => name === "get_dimension_size");
    assert.throws(
      () => op!.attrs.ints("dimension"),
      /attribute "dimension" of a stablehlo.get_dimension_size is not a list/,
    );
    assert.throws(() => op!.attrs.int("size"), /attribute "size"/);
  });

  it("every beginning of a module is an error", () => {
    for (let length = 0; length < mlp.length; length += 7) {
      assert.throws(() => readStableHlo(mlp.subarray(0, length)), ServingError, `${length} bytes`);
    }
  });

  it("counts without end, newer versions and other files are errors", () => {
    const header = [0x4d, 0x4c, 0xef, 0x52];
    const huge = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for (const bytes of [
      [],
      [1, 2, 3, 4],
      [...header, 0x0f, 0], // version 7
      [...header, 0x0d, 0, 0, ...huge], // a section longer than any file
      [...header, 0x0d, 0, 1, 0x13, ...huge], // strings without end
      [...header, 0x0d, 0, 0x80, 0x03, ...huge], // an alignment without end
    ]) {
      assert.throws(() => readStableHlo(Uint8Array.from(bytes)), ServingError);
    }
  });

  it("changed bytes give a module or a ServingError, in bounded time and memory", () => {
    const seed = systemRandom().uint32();
    const random = seededRandom(seed);
    for (const endMs = performance.now() + FUZZ_MS; performance.now() < endMs; ) {
      const bytes = mlp.slice();
      for (let i = random.uint32() % 4; i >= 0; i--) bytes[random.uint32() % bytes.length] = random.uint32() & 0xff;
      const heapBytes = process.memoryUsage().heapUsed;
      const startMs = performance.now();
      try {
        readStableHlo(bytes);
      } catch (error) {
        assert.ok(error instanceof ServingError, `seed ${seed}: ${(error as Error).stack}`);
      }
      assert.ok(performance.now() - startMs < MS_MAX, `seed ${seed}: slow`);
      assert.ok(process.memoryUsage().heapUsed - heapBytes < HEAP_BYTES_MAX, `seed ${seed}: heap`);
    }
  });
});
