import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BatchingParametersSchema } from "@shardserve/api";
import { silentLogger, systemClock } from "@shardserve/core";
import { batchingOptions, DEFAULT_BATCHING, parseTextFormat, perModelBatching } from "@shardserve/model-server";
import { StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import fc from "fast-check";
import { Batcher, type RunRecord } from "../src/batching/batcher.js";
import type { BatchingOptions } from "../src/batching/options.js";
import { padInner } from "../src/batching/pad-rows.js";
import { startManager } from "./harness.js";
import { FunctionModel, halfPlus } from "./models.js";

const read = (text: string, cores = 4) =>
  batchingOptions(parseTextFormat(BatchingParametersSchema, text, "f"), cores, "f");

describe("batching parameters", () => {
  it("have TensorFlow Serving's names and defaults", () => {
    assert.deepEqual(read("", 3), {
      isEnabled: true,
      maxBatchRows: 1000,
      requestRowsMax: 1000,
      isLargeSplit: false,
      allowedRows: [],
      isPadded: false,
      queueRowsMax: 10_000,
      runsMax: 3,
      timeoutMs: 0,
      targetLatencyMs: Number.POSITIVE_INFINITY,
    } satisfies BatchingOptions);
    assert.deepEqual(
      read(`max_batch_size { value: 128 } batch_timeout_micros { value: 1500 } max_enqueued_batches { value: 7 }
            num_batch_threads { value: 2 } thread_pool_name { value: "p" } pad_variable_length_inputs: true
            enable_large_batch_splitting { value: true } max_execution_batch_size { value: 32 } allowed_batch_sizes: [8, 32]`),
      {
        isEnabled: true,
        maxBatchRows: 32,
        requestRowsMax: Number.POSITIVE_INFINITY,
        isLargeSplit: true,
        allowedRows: [8, 32],
        isPadded: true,
        queueRowsMax: 224,
        runsMax: 2,
        timeoutMs: 1.5,
        targetLatencyMs: Number.POSITIVE_INFINITY,
      } satisfies BatchingOptions,
    );
    assert.equal(read("max_enqueued_batches { value: 0 }").queueRowsMax, 1000, "0 is 1");
  });

  it("refuse what does not fit", () => {
    for (const [text, message] of [
      ["max_batch_size { value: 0 }", "f: max_batch_size is 0, not 1 to 2147483648"],
      ["num_batch_threads { value: 0 }", "f: num_batch_threads is 0, not 1 to 2147483648"],
      ["batch_timeout_micros { value: -1 }", "f: batch_timeout_micros is -1, not 0 to 2147483648"],
      ["allowed_batch_sizes: [4, 2]", "f: allowed_batch_sizes entries must be in increasing order"],
      [
        "max_batch_size { value: 9 } allowed_batch_sizes: [4, 8]",
        "f: Last entry in allowed_batch_sizes must match max_batch_size; last entry was 8; expected 9",
      ],
      [
        "enable_large_batch_splitting { value: true } max_batch_size { value: 9 } max_execution_batch_size { value: 10 }",
        "f: max_execution_batch_size 10 is more than max_batch_size 9",
      ],
    ] as const) {
      assert.throws(() => read(text), { message });
    }
  });

  it("of one version are read beside it; a version without them is not batched", async () => {
    const dir = await mkdtemp(join(tmpdir(), "shardserve-batching-"));
    const models = [halfPlus(1), halfPlus(2)];
    const { loader, batchingOf } = perModelBatching(
      { load: async ({ version }) => models[version]! },
      async (_id, path) => path,
      5,
    );
    const load = (version: number, path: string) =>
      loader.load({ name: "m", version }, path, { signal: new AbortController().signal });
    await writeFile(join(dir, "batching_params.pbtxt"), "max_batch_size { value: 16 } num_batch_threads { value: 9 }");
    await load(0, dir);
    await load(1, join(dir, "none"));
    assert.deepEqual(
      models.map((model) => [
        batchingOf(model)!.isEnabled,
        batchingOf(model)!.maxBatchRows,
        batchingOf(model)!.runsMax,
      ]),
      [
        [true, 16, 5],
        [false, 512, 5],
      ],
    );
    await writeFile(join(dir, "batching_params.pbtxt"), "max_batch { value: 16 }");
    await assert.rejects(load(0, dir), /batching_params\.pbtxt:1:1: .* has no field "max_batch"/);
    await rm(dir, { recursive: true });
  });
});

/** Doubles its input and remembers the shapes that it saw; waits while the gate is shut. */
class Doubling extends FunctionModel {
  readonly shapes: (readonly number[])[] = [];
  readonly inputs: number[][] = [];

  constructor(wait: () => Promise<void>, inner: readonly number[] = []) {
    super({
      s: {
        inputs: { x: { dtype: "float32", shape: [-1, ...inner] } },
        outputs: { y: { dtype: "float32", shape: [-1, ...inner] } },
        run: async (inputs) => {
          const x = inputs.get("x")!;
          this.shapes.push(x.shape);
          this.inputs.push(Array.from(x.data as Float32Array));
          await wait();
          return {
            y: tensor(
              "float32",
              x.shape,
              Float32Array.from(x.data as Float32Array, (value) => value * 2),
            ),
          };
        },
      },
    });
  }
}

async function bench(options: Partial<BatchingOptions>, inner: readonly number[] = []) {
  let open = () => {};
  let gate = Promise.resolve();
  const model = new Doubling(() => gate, inner);
  const manager = await startManager({ m: { 1: model } });
  const records: RunRecord[] = [];
  const batcher = new Batcher({
    batching: { ...DEFAULT_BATCHING, runsMax: 1, ...options },
    clock: systemClock,
    logger: silentLogger,
    onRun: (record) => records.push(record),
  });
  const handle = manager.handle({ name: "m" });
  return {
    model,
    records,
    shut: () => {
      gate = new Promise((resolve) => (open = resolve));
    },
    open: () => {
      gate = Promise.resolve();
      open();
    },
    run: async (shape: readonly number[], values: readonly number[]) => {
      const { outputs } = await batcher.run({
        handle,
        signature: model.signatures.get("s")!,
        inputs: new Map([["x", tensor("float32", shape, Float32Array.from(values))]]),
        outputs: undefined,
        signal: new AbortController().signal,
        deadlineMs: undefined,
      });
      const y = outputs.get("y")!;
      return { shape: y.shape, values: Array.from(y.data as Float32Array) };
    },
  };
}

describe("batching by parameters", () => {
  it("refuses a request of more rows than max_batch_size", async () => {
    const { run } = await bench({ requestRowsMax: 2, maxBatchRows: 2 });
    await assert.rejects(run([3], [1, 2, 3]), {
      message: "Task size 3 is larger than maximum input batch size 2",
      status: "INVALID_ARGUMENT",
    });
    assert.deepEqual((await run([2], [1, 2])).values, [2, 4]);
  });

  it("runs a large request in pieces when splitting is on", async () => {
    const { run, model } = await bench({ isLargeSplit: true, maxBatchRows: 4, runsMax: 2 });
    const values = Array.from({ length: 10 }, (_, i) => i);
    const answer = await run([10], values);
    assert.deepEqual(
      answer.values,
      values.map((value) => value * 2),
    );
    assert.deepEqual(answer.shape, [10]);
    assert.ok(model.shapes.every(([rows]) => rows! <= 4));
  });

  it("fills runs up to an allowed size and cuts the answers", async () => {
    const one = await bench({ allowedRows: [4, 8], maxBatchRows: 8 });
    assert.deepEqual((await one.run([3], [1, 2, 3])).values, [2, 4, 6]);
    assert.deepEqual(one.model.inputs, [[1, 2, 3, 1]]);
    assert.deepEqual((await one.run([9], [1, 2, 3, 4, 5, 6, 7, 8, 9])).values.length, 9);
    assert.deepEqual(one.model.shapes.at(-1), [9], "larger than any allowed: as it is");
    const joined = await bench({ allowedRows: [8], maxBatchRows: 8, isPadded: true });
    joined.shut();
    const runs = [joined.run([1], [1]), joined.run([2], [2, 3]), joined.run([3], [4, 5, 6])];
    joined.open();
    assert.deepEqual(
      (await Promise.all(runs)).map(({ values }) => values),
      [[2], [4, 6], [8, 10, 12]],
    );
    assert.deepEqual(joined.model.inputs.at(-1), [2, 3, 4, 5, 6, 4, 4, 4], "the fill is the last request's first row");
    assert.deepEqual(
      joined.records.map(({ rows, requests }) => [rows, requests]),
      [
        [1, 1],
        [5, 2],
      ],
    );
  });

  it("joins requests of different inner sizes when padding is on", async () => {
    const { run, model, shut, open } = await bench({ isPadded: true }, [-1]);
    shut();
    const runs = [run([1, 1], [9]), run([1, 3], [1, 2, 3]), run([2, 2], [4, 5, 6, 7])];
    open();
    const [, second, third] = await Promise.all(runs);
    assert.deepEqual(model.inputs[1], [1, 2, 3, 4, 5, 4, 6, 7, 4]);
    assert.deepEqual(
      [second!.shape, third!.shape],
      [
        [1, 3],
        [2, 3],
      ],
    );
    assert.deepEqual(third!.values, [8, 10, 8, 12, 14, 8]);
  });

  it("pads as a slow twin does", () => {
    const shapes = fc.array(fc.tuple(fc.nat(2), fc.nat(3), fc.nat(3)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(shapes, fc.boolean(), (all, isText) => {
        const parts = all.map((shape, n): Tensor => {
          const count = shape[0] * shape[1] * shape[2];
          const values = Array.from({ length: count }, (_, i) => n * 100 + i + 1);
          return isText
            ? tensor("string", shape, StringColumn.from(values.map(String)))
            : tensor("float32", shape, Float32Array.from(values));
        });
        const inner = [1, 2].map((d) => Math.max(...all.map((shape) => shape[d]!)));
        const textAt = (value: Tensor, i: number) =>
          value.dtype === "string"
            ? Buffer.from((value.data as StringColumn).at(i)).toString()
            : String((value.data as Float32Array)[i]);
        padInner(parts).forEach((padded, n) => {
          const [rows, b, c] = all[n]!;
          assert.deepEqual(padded.shape, [rows, ...inner]);
          for (let i = 0; i < rows * inner[0]! * inner[1]!; i++) {
            const [row, y, x] = [
              Math.floor(i / (inner[0]! * inner[1]!)),
              Math.floor(i / inner[1]!) % inner[0]!,
              i % inner[1]!,
            ];
            const isEmpty = rows * b * c === 0;
            const source = y < b && x < c ? (row * b + y) * c + x : 0;
            assert.equal(textAt(padded, i), isEmpty ? (isText ? "" : "0") : textAt(parts[n]!, source));
          }
        });
      }),
      { numRuns: 200 },
    );
  });
});
