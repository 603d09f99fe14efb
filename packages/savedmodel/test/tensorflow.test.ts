import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bytesOf, strings, tensor } from "@shardserve/tensor";
import { attr, BundleWriter, GraphBuilder, predictSignature, writeSavedModel } from "../src/index.js";

/** A Python that has TensorFlow; the test skips itself without one. */
const python = process.env["SHARDSERVE_TF_PYTHON"] ?? "python3";
const script = fileURLToPath(new URL("../../test/python/check_written.py", import.meta.url));
const ROWS = 10;
const COLUMNS = 400;

describe("TensorFlow", function () {
  this.timeout(180_000);
  let dir: string;
  before(async function () {
    if (spawnSync(python, ["-c", "import tensorflow"]).status !== 0) {
      console.log(`skipped: ${python} has no tensorflow; SHARDSERVE_TF_PYTHON names a Python that has it`);
      this.skip();
    }
    dir = await mkdtemp(join(tmpdir(), "tensorflow-"));
  });
  after(async () => {
    if (dir) await rm(dir, { recursive: true });
  });

  it("reads the checkpoints and runs the models that are written here", async () => {
    const full = Float32Array.from({ length: ROWS * COLUMNS }, (_, i) => i);
    await writeCheckpoint(join(dir, "checkpoint"), full);
    await writeModel(join(dir, "model"));
    const output = execFileSync(python, [script, join(dir, "checkpoint"), join(dir, "model")], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const found = JSON.parse(output.toString()) as Record<string, unknown>;
    assert.deepEqual(found["tensors"], {
      "a/float": [1, 2, 3, 4, 5, 6],
      bool: [true, false, true],
      half: [1, -2],
      int64: [-5],
      "p/grid": [...full],
      "p/rows": [...full],
      strings: ["68656c6c6f", "00ff01", ""],
      ümläut: [7],
    });
    assert.equal(found["count"], 8 + 3000);
    assert.equal(found["many"], (3000 * 2999) / 2);
    assert.deepEqual(found["part"], [...boxOf(full, 3, 4, 100, 200)]);
    // y = relu(x w) + rows[ids]
    assert.deepEqual(found["by_function"], [50, 62, 7, 18]);
    assert.deepEqual(found["by_session"], [50, 62, 7, 18]);
  });
});

async function writeCheckpoint(prefix: string, full: Float32Array): Promise<void> {
  const writer = await BundleWriter.create(prefix, { shardCount: 3 });
  await writer.addTensor("a/float", tensor("float32", [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)));
  await writer.addTensor("strings", strings([3], ["hello", Uint8Array.of(0, 255, 1), ""]));
  await writer.addTensor("int64", tensor("int64", [], BigInt64Array.of(-5n)));
  await writer.addTensor("bool", tensor("bool", [3], Uint8Array.of(1, 0, 1)));
  await writer.addTensor("half", tensor("float16", [2], Uint16Array.of(0x3c00, 0xc000)));
  await writer.addTensor("ümläut", tensor("int8", [1], Int8Array.of(7)));
  for (const row of [0, 5]) {
    const shape = [5, COLUMNS];
    await writer.addSlice(
      "p/rows",
      "float32",
      [ROWS, COLUMNS],
      { start: [row, 0], shape },
      bytesOf(boxOf(full, row, 5, 0, COLUMNS)),
    );
    for (const column of [0, 200]) {
      const slice = { start: [row, column], shape: [5, 200] };
      await writer.addSlice("p/grid", "float32", [ROWS, COLUMNS], slice, bytesOf(boxOf(full, row, 5, column, 200)));
    }
  }
  // Enough keys for several blocks of the index.
  for (let i = 0; i < 3000; i++) await writer.addTensor(`many/v${i}`, tensor("int32", [1], Int32Array.of(i)));
  await writer.finish();
}

function boxOf(full: Float32Array, row: number, rows: number, column: number, columns: number): Float32Array {
  return Float32Array.from(
    { length: rows * columns },
    (_, i) => full[(row + Math.floor(i / columns)) * COLUMNS + column + (i % columns)]!,
  );
}

async function writeModel(dir: string): Promise<void> {
  const graph = new GraphBuilder();
  const T = attr.type("float32");
  const x = graph.placeholder("x", "float32", [-1, 2]);
  const ids = graph.placeholder("ids", "int64", [-1]);
  const w = graph.variable("layer/w", "float32", [2, 2]);
  const rows = graph.variable("rows", "float32", [3, 2]);
  const hidden = graph.node("Relu", [graph.node("MatMul", [x, graph.read(w, "float32")], { attrs: { T } })], {
    attrs: { T },
  });
  const y = graph.node("AddV2", [hidden, graph.gather(rows, ids, "float32", "int64")], { name: "y", attrs: { T } });
  const signature = predictSignature(
    { x: { ref: x, dtype: "float32", shape: [-1, 2] }, ids: { ref: ids, dtype: "int64", shape: [-1] } },
    { y: { ref: y, dtype: "float32", shape: [-1, 2] } },
  );
  await writeSavedModel(dir, graph.savedModel({ serving_default: signature }), {
    variables: async (writer) => {
      await writer.addTensor("layer/w", tensor("float32", [2, 2], Float32Array.of(-1, 1, -1, 0.5)));
      await writer.addTensor("rows", tensor("float32", [3, 2], Float32Array.of(7, 13, 0, 0, 50, 60)));
    },
  });
}
