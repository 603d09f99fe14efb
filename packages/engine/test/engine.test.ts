import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { fromBinary, SavedModelSchema, toBinary } from "@shardserve/api";
import { ServingError, isServingError, systemClock } from "@shardserve/core";
import type { RowSource } from "@shardserve/rowstore";
import { loadModel } from "@shardserve/engine";
import type { KernelTable } from "@shardserve/graph";
import { hostKernels } from "@shardserve/host-ops";
import { loadOrt } from "@shardserve/native";
import { BundleReader } from "@shardserve/savedmodel";
import { type Model, type RunResult, sumOf } from "@shardserve/servable";
import { type DataOf, type Tensor, tensor } from "@shardserve/tensor";
import { readGolden, REPO_DIR, sharedDir } from "@shardserve/testkit";
import { dlrmInputs, dlrmRows } from "./dlrm.js";

const MODELS = join(REPO_DIR, "test/fixtures/models");
const load = (name: string, rowSource?: RowSource): Promise<Model> =>
  loadModel({ dir: join(MODELS, name, "1"), ort: loadOrt(), ...(rowSource && { rowSource }) });

const x = (shape: number[], ...values: number[]) =>
  new Map([["x", tensor("float32", shape, Float32Array.from(values))]]);

describe("loadModel", () => {
  let before: { values: number; sessions: number };
  let model: Model | undefined;
  beforeEach(() => {
    before = { ...loadOrt().live };
    model = undefined;
  });
  afterEach(async () => {
    await model?.close();
    assert.deepEqual(loadOrt().live, before, "nothing is left behind");
  });

  it("takes inputs of other ranks than the signature states, as TensorFlow does", async () => {
    model = await load("half-plus-two");
    for (const [shape, values] of [
      [
        [2, 1],
        [1, 2],
      ],
      [[3], [1, 2, 5]],
      [[], [8]],
      [[0, 1], []],
      [
        [2, 2],
        [1, 2, 3, 4],
      ],
    ] as const) {
      const result: RunResult = await model.run("serving_default", x([...shape], ...values), {});
      const y: Tensor = result.outputs.get("y")!;
      assert.deepEqual([...y.shape], [...shape]);
      assert.deepEqual(
        [...(y.data as Float32Array)],
        values.map((value) => value / 2 + 2),
      );
    }
  });

  it("asks whether it is alone before it holds the event loop for longer than a hop takes", async () => {
    let nowMs = 0;
    const clock = { ...systemClock, nowMs: () => (nowMs += 0.5) }; // every step takes so long
    for (const dir of ["dlrm/1", "half-plus-two/1"].map((name) => join(MODELS, name))) {
      model = await loadModel({ dir, ort: loadOrt(), clock });
      const inputs = dir.includes("dlrm") ? dlrmInputs(2) : x([1, 1], 1);
      let asked = 0;
      const isAlone = () => ++asked > 0;
      await model.run("serving_default", inputs, { isAlone });
      assert.equal(asked, 0, "nothing is known of the first run");
      for (const times of [1, 2]) {
        const { outputs } = await model.run("serving_default", inputs, { isAlone });
        assert.equal(outputs.size > 0, true);
        assert.equal(asked, times);
      }
      await model.close();
    }
    model = undefined;
  });

  it("plans signatures that differ in name only once", async () => {
    const dir = mkdtempSync(join(tmpdir(), "equal-signatures-"));
    try {
      cpSync(join(MODELS, "half-plus-two/1"), dir, { recursive: true });
      const path = join(dir, "saved_model.pb");
      const saved = fromBinary(SavedModelSchema, readFileSync(path));
      const { signatureDef } = saved.metaGraphs[0]!;
      signatureDef["again"] = signatureDef["serving_default"]!;
      const effort = async (): Promise<{ sessions: number; questions: number }> => {
        let questions = 0;
        const supports: KernelTable["supports"] = (node, context) => {
          questions++;
          return hostKernels.supports(node, context);
        };
        const loaded = await loadModel({
          dir,
          ort: loadOrt(),
          kernels: { get: (op) => hostKernels.get(op), supports },
        });
        const sessions = loadOrt().live.sessions - before.sessions;
        try {
          for (const name of loaded.signatures.keys()) {
            const y = (await loaded.run(name, x([1, 1], 8), {})).outputs.get("y")!;
            assert.deepEqual([...(y.data as Float32Array)], [6]);
          }
        } finally {
          await loaded.close();
        }
        return { sessions, questions };
      };
      const alone = await effort();
      assert.ok(alone.questions > 0);
      writeFileSync(path, toBinary(SavedModelSchema, saved));
      assert.deepEqual(await effort(), alone);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it("bounds the plans for foreign ranks", async () => {
    model = await loadModel({ dir: join(MODELS, "half-plus-two/1"), ort: loadOrt(), limits: { planVariants: 1 } });
    await model.run("serving_default", x([1], 1), {});
    await model.run("serving_default", x([2], 1, 2), {});
    await assert.rejects(model.run("serving_default", x([], 1), {}), { code: "RESOURCE_EXHAUSTED" });
  });

  it("names what is wrong with a request", async () => {
    model = await load("half-plus-two");
    const wrong = new Map([["x", tensor("int32", [1], Int32Array.of(1))]]);
    await assert.rejects(model.run("serving_default", wrong, {}), {
      code: "INVALID_ARGUMENT",
      message: "Expects arg[0] to be float but int32 is provided",
    });
    await assert.rejects(model.run("serving_default", new Map(), {}), /needs input "x"/);
    await assert.rejects(model.run("serving_default", x([1], 1), { outputs: ["z"] }), /has no output "z"/);
    await assert.rejects(model.run("nonsense", x([1], 1), {}), { code: "NOT_FOUND" });
  });

  it("says where an id lies outside its table, in TensorFlow's words", async () => {
    for (const source of [undefined, await dlrmRows()]) {
      const sharded = await load("dlrm", source);
      const outside = dlrmInputs(3, (i) => (i === 7 ? 37 : 0));
      await assert.rejects(sharded.run("serving_default", outside, {}), {
        code: "ROW_OUT_OF_RANGE",
        message: /^indices\[1\] = 37 is not in \[0, 37\)\n\t \[\[\{\{node \S+\}\}\]\]$/,
      });
      const negative = dlrmInputs(2, (i) => (i === 6 ? -1 : 0));
      await assert.rejects(sharded.run("serving_default", negative, {}), /indices\[1\] = -1 is not in \[0, 1000\)\n/);
      assert.equal(source?.leases ?? 0, 0);
      await sharded.close();
    }
  });

  it("gives the same bits with rows from elsewhere", async () => {
    const rows = await dlrmRows();
    const sharded = await load("dlrm", rows);
    model = await load("dlrm");
    for (const batch of [1, 2, 17, 64, 0]) {
      const inputs = dlrmInputs(batch, (i) => (i * 7) % 3);
      const a: RunResult = await model.run("serving_default", inputs, {});
      const b: RunResult = await sharded.run("serving_default", inputs, {});
      assert.deepEqual(a.outputs, b.outputs);
      assert.equal(a.report, undefined, "rows of this machine are not reported");
      const counts = { cacheRows: 0, shardRows: batch * 6, redisRows: 0, staleRows: 0, defaultRows: 0 };
      const { tables, ...totals } = b.report!;
      assert.deepEqual(totals, { ...counts, epoch: 3 });
      assert.equal(sumOf(tables).shardRows, batch * 6);
    }
    assert.equal(rows.calls, 5, "one lookup for all tables of a request");
    assert.equal(rows.leases, 0);
    await sharded.close();
    assert.ok(rows.isClosed);
  });

  for (const [what, source] of [
    ["table", join(MODELS, "dlrm/1")],
    ["weight", sharedDir() && join(sharedDir()!, "savedmodels/zoo/tf1sig-sales-mlp-tf1style-tf22")],
  ] as const) {
    it(`refuses a checkpoint with one wrong bit in a ${what} that it would use in place`, async function () {
      if (source === undefined) return this.skip(); // the committed models have no weight of that size
      const dir = mkdtempSync(join(tmpdir(), "damaged-"));
      try {
        cpSync(source, dir, { recursive: true });
        chmodSync(join(dir, "variables"), 0o755);
        const reader = await BundleReader.open(join(dir, "variables", "variables"));
        const numeric = [...reader.entries.values()].filter(({ dtype }) => dtype === "float32");
        const { key } = numeric.reduce((largest, entry) => (entry.size > largest.size ? entry : largest));
        const { path, offset, size } = reader.ranges(key)![0]!;
        await reader.close();
        assert.ok(size > 4096, "smaller ones are read whole");
        const bytes = readFileSync(path);
        bytes[offset + (size >> 1)]! ^= 1;
        rmSync(path);
        writeFileSync(path, bytes);
        for (const pace of [undefined, { isBusy: true, pause: async () => undefined }]) {
          await assert.rejects(
            loadModel({ dir, ort: loadOrt(), ...(pace && { pace }) }),
            (error) => isServingError(error, "CHECKSUM_MISMATCH") && error.message.includes(key),
          );
        }
      } finally {
        rmSync(dir, { recursive: true });
      }
    });
  }

  it("says what the engine will need before it takes it, and loads nothing that is refused", async () => {
    const needed: number[] = [];
    const { sessions } = loadOrt().live;
    const dir = join(MODELS, "dlrm/1");
    model = await loadModel({ dir, ort: loadOrt(), onPlanned: (bytes) => void needed.push(bytes) });
    assert.equal(needed.length, 1);
    assert.ok(needed[0]! > 2 ** 20, `${needed[0]} bytes`);
    const opened = loadOrt().live.sessions;
    const refuse = () => {
      throw new ServingError("MEMORY_LIMIT", "no room");
    };
    await assert.rejects(loadModel({ dir, ort: loadOrt(), onPlanned: refuse }), /no room/);
    assert.equal(loadOrt().live.sessions, opened);
    assert.ok(opened > sessions);
  });

  it("plans what small models take: neither much less than is measured, nor several times as much", async function () {
    this.timeout(60_000);
    const program = join(import.meta.dirname, "memory-of-models.js");
    const dir = join(MODELS, "half-plus-two/1");
    const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", program, dir]);
    const [plannedBytes, measuredBytes] = JSON.parse(stdout) as [number, number];
    // 1.35 to 1.5 here, 1.1 in a server, which does not collect its garbage for it.
    const ratio = plannedBytes / measuredBytes;
    assert.ok(ratio > 0.8 && ratio < 2.2, `planned ${plannedBytes} bytes, measured ${measuredBytes}`);
  });

  it("rests for requests while it loads, and not once it is a request's", async () => {
    let rests = 0;
    const pace = { isBusy: true, pause: () => Promise.resolve(void rests++) };
    model = await loadModel({ dir: join(MODELS, "half-plus-two/1"), ort: loadOrt(), pace });
    const loading = rests;
    assert.ok(loading > 0);
    const { outputs } = await model.run("serving_default", x([3], 1, 2, 5), {});
    assert.deepEqual([...(outputs.get("y")!.data as Float32Array)], [2.5, 3, 4.5]);
    assert.equal(rests, loading);
  });

  it("computes only what is asked for", async () => {
    model = await load("dlrm");
    const { outputs } = await model.run("serving_default", dlrmInputs(2), { outputs: ["ctr"] });
    assert.deepEqual([...outputs.keys()], ["ctr"]);
  });

  it("stops with the signal's reason and gives rows back", async () => {
    const rows = await dlrmRows();
    model = await load("dlrm", rows);
    const reason = new Error("enough");
    await assert.rejects(model.run("serving_default", dlrmInputs(1), { signal: AbortSignal.abort(reason) }), reason);
    const controller = new AbortController();
    let open = () => {};
    rows.gate = new Promise((resolve) => (open = resolve));
    const run = model.run("serving_default", dlrmInputs(1), { signal: controller.signal });
    controller.abort(reason);
    open();
    await assert.rejects(run, reason);
    assert.equal(rows.leases, 0);
  });

  it("answers overlapping runs", async () => {
    model = await load("dlrm");
    const golden = readGolden(join(MODELS, "dlrm/golden.json")).cases.filter((item) => item.outputs);
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, i) => model!.run("serving_default", golden[i % golden.length]!.inputs, {})),
    );
    for (const [i, { outputs }] of answers.entries()) {
      const expected = golden[i % golden.length]!.outputs!.get("ctr")!.data as DataOf["float32"];
      const actual = outputs.get("ctr")!.data as DataOf["float32"];
      for (let k = 0; k < expected.length; k++) assert.ok(Math.abs(actual[k]! - expected[k]!) <= 1e-5);
    }
  });

  it("closes the row source of a model that cannot be loaded", async () => {
    const rows = await dlrmRows();
    await assert.rejects(load("no-such-model", rows), { code: "SAVED_MODEL_INVALID" });
    assert.ok(rows.isClosed);
  });

  it("does not mix up runs over mutable variables", async function () {
    const shared = sharedDir();
    if (shared === undefined) {
      console.log("skipped: no ../shared with SavedModels (SHARDSERVE_SHARED names it)");
      this.skip();
    }
    const dir = join(shared, "savedmodels/tf-serving/saved_model_counter/00000123");
    model = await loadModel({ dir, ort: loadOrt() });
    const runs = await Promise.all(Array.from({ length: 20 }, () => model!.run("incr_counter", new Map(), {})));
    const counts = runs.map(({ outputs }) => (outputs.get("output")!.data as Float32Array)[0]!);
    assert.deepEqual(
      counts.sort((a, b) => a - b),
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
  });
});
