import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { allocate, loadOrt, mapFile, OrtValue, opModel } from "../src/index.js";

const F32 = (shape: number[]) => ({ dtype: "float32", shape }) as const;
const addModel = opModel("Add", [F32([-1]), F32([-1])], [F32([-1])]);
const floats = (...values: number[]) => tensor("float32", [values.length], new Float32Array(values));
const isEngineFailure = (error: unknown) => isServingError(error, "ENGINE_FAILED");

describe("ort", () => {
  const ort = loadOrt();

  it("is one per process", () => {
    assert.equal(loadOrt(), ort);
    assert.match(ort.version, /^1\.\d+\.\d+$/);
    assert.throws(
      () => loadOrt({ intraOpThreads: 77 }),
      (error) => isServingError(error, "CONFIG_INVALID"),
    );
  });

  it("says what a model takes and gives", () => {
    using session = ort.createSessionSync(opModel("Add", [F32([-1, 3]), F32([])], [F32([-1, 3])]));
    assert.deepEqual(session.inputs, [
      { name: "in0", kind: "tensor", dtype: "float32", shape: [-1, 3], symbols: ["in0_0", ""] },
      { name: "in1", kind: "tensor", dtype: "float32", shape: [], symbols: [] },
    ]);
    assert.deepEqual(session.outputs[0]?.name, "out0");
  });

  it("runs, on this thread and on another, with outputs of ORT and of ours", async () => {
    using session = await ort.createSession(addModel);
    using a = OrtValue.fromTensor(floats(1, 2, 3));
    using b = OrtValue.overMemory("float32", [3], new Float32Array([10, 20, 30]));
    const [sync] = session.runSync([a, b]);
    assert.deepEqual(sync?.toTensor(), floats(11, 22, 33));
    const [async] = await session.run([a, b]);
    assert.deepEqual(async?.view(), new Float32Array([11, 22, 33]));
    sync?.dispose();
    async?.dispose();

    const shared = new Float32Array(new SharedArrayBuffer(12));
    using into = OrtValue.overMemory("float32", [3], shared);
    assert.deepEqual(await session.run([a, b], { outputs: [0], into: [into] }), [into]);
    assert.deepEqual([...shared], [11, 22, 33]);
    const empty = OrtValue.fromTensor(floats());
    const [none] = session.runSync([empty, empty]);
    assert.deepEqual(none?.toTensor(), floats());
    none?.dispose();
    empty.dispose();
  });

  describe("values for runs", () => {
    const ids = (...values: number[]) => tensor("int64", [1, values.length], BigInt64Array.from(values, BigInt));

    it("copy what is small, alias what is not, and keep strings", () => {
      const source = new Float32Array([1, 2]);
      using small = OrtValue.forRun(tensor("float32", [2], source));
      source[0] = 9;
      assert.deepEqual(small.toTensor(), floats(1, 2));
      const large = new Float32Array(1000);
      using alias = OrtValue.forRun(tensor("float32", [1000], large));
      large[999] = 7;
      assert.equal(alias.view<"float32">()[999], 7);
      const words = tensor("string", [1], StringColumn.from(["word"]));
      using text = OrtValue.forRun(words);
      assert.deepEqual(text.toTensor(), words);
      using nothing = OrtValue.forRun(floats());
      assert.deepEqual(nothing.toTensor(), floats());
    });

    it("are refused where elements and shape do not fit, which costs the next ones nothing", () => {
      for (const length of [1, 3]) {
        const wrong = { ...floats(1, 2), data: new Float32Array(length) };
        assert.throws(() => OrtValue.forRun(wrong), /elements for shape \[2\]/);
      }
      using next = OrtValue.forRun(floats(1, 2));
      assert.deepEqual(next.toTensor(), floats(1, 2));
    });

    it("are used again by values of the same dtype and shape only, one at a time", () => {
      const { values } = ort.live;
      const first = OrtValue.forRun(ids(1, 2, 3));
      using other = OrtValue.forRun(ids(4, 5, 6));
      assert.notEqual(other.handle, first.handle);
      const { handle } = first;
      first.dispose();
      first.dispose(); // has given its memory back already
      assert.equal(ort.live.values, values + 1);
      using line = OrtValue.forRun(tensor("int64", [3], new BigInt64Array(3)));
      using unsigned = OrtValue.forRun(tensor("uint64", [1, 3], new BigUint64Array(3)));
      using next = OrtValue.forRun(ids(7, 8, 9));
      using last = OrtValue.forRun(ids(10, 11, 12));
      assert.equal(next.handle, handle);
      assert.equal(new Set([line.handle, unsigned.handle, next.handle, last.handle, other.handle]).size, 5);
      assert.deepEqual(next.toTensor(), ids(7, 8, 9));
      assert.deepEqual(last.toTensor(), ids(10, 11, 12));
      assert.deepEqual(other.toTensor(), ids(4, 5, 6));
    });

    it("are not used again while a run reads them", async () => {
      using session = await ort.createSession(addModel);
      const fed = OrtValue.forRun(floats(1, 2, 3, 4));
      const running = session.run([fed, fed]);
      fed.dispose();
      using meanwhile = OrtValue.forRun(floats(5, 6, 7, 8));
      assert.notEqual(meanwhile.handle, fed.handle);
      const [sum] = await running;
      assert.deepEqual(sum?.toTensor(), floats(2, 4, 6, 8));
      sum?.dispose();
      using after = OrtValue.forRun(floats(0, 0, 0, 0));
      assert.equal(after.handle, fed.handle);
    });
  });

  it("runs without a pattern of its memory", () => {
    using session = ort.createSessionSync(addModel, { memoryPattern: false });
    using a = OrtValue.fromTensor(floats(1, 2));
    for (let run = 0; run < 3; run++) {
      const [sum] = session.runSync([a, a]);
      assert.deepEqual(sum?.toTensor(), floats(2, 4));
      sum?.dispose();
    }
  });

  it("carries every element type that ONNX has", () => {
    for (const dtype of ["float64", "int32", "int64", "uint8", "int8", "uint16", "int16", "bool", "float16"] as const) {
      using session = ort.createSessionSync(opModel("Identity", [{ dtype, shape: [-1] }], [{ dtype, shape: [-1] }]));
      using value = OrtValue.overMemory(dtype, [2], new Uint8Array([1, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]));
      const [result] = session.runSync([value]);
      assert.equal(result?.dtype, dtype);
      assert.deepEqual(result?.toTensor().data, value.toTensor().data);
      result?.dispose();
    }
  });

  it("takes and gives as many dimensions as TensorFlow's tensors have", () => {
    const shape = Array.from({ length: 254 }, (_, i) => (i % 120 === 7 ? 2 : 1));
    const declared = F32(shape.map(() => -1));
    using session = ort.createSessionSync(opModel("Mul", [declared, F32([])], [declared]));
    using value = OrtValue.fromTensor(tensor("float32", shape, new Float32Array([1, 2, 3, 4, 5, 6, 7, 8])));
    using half = OrtValue.fromTensor(tensor("float32", [], new Float32Array([0.5])));
    const [result] = session.runSync([value, half]);
    assert.deepEqual(result?.toTensor(), tensor("float32", shape, new Float32Array([0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4])));
    result?.dispose();
  });

  it("keeps strings to the byte, NUL and invalid UTF-8 included", () => {
    const model = opModel("Identity", [{ dtype: "string", shape: [-1] }], [{ dtype: "string", shape: [-1] }]);
    using session = ort.createSessionSync(model);
    const cases: (string | Uint8Array)[][] = [
      ["a", "", "grüße", "x".repeat(100_000)],
      [new Uint8Array([0xff, 0, 1, 0xfe]), "plain", new Uint8Array(0)],
      ["", ""],
      [],
    ];
    for (const texts of cases) {
      const column = StringColumn.from(texts);
      using value = OrtValue.strings(column, [texts.length]);
      const [result] = session.runSync([value]);
      const back = (result!.toTensor() as Tensor<"string">).data;
      assert.equal(back.length, texts.length);
      for (let i = 0; i < texts.length; i++) assert.deepEqual(Buffer.from(back.at(i)), Buffer.from(column.at(i)));
      result?.dispose();
    }
  });

  it("gathers from a mapped file without copying it", () => {
    const dir = mkdtempSync(join(tmpdir(), "native-"));
    try {
      const rows = Float32Array.from({ length: 8000 }, (_, i) => i);
      writeFileSync(join(dir, "rows"), new Uint8Array(rows.buffer));
      const model = opModel("Gather", [F32([-1, 8]), { dtype: "int64", shape: [-1] }], [F32([-1, 8])]);
      using session = ort.createSessionSync(model);
      using file = mapFile(join(dir, "rows"), { offset: 32, length: 8000 * 4 - 32 });
      using table = OrtValue.overMemory("float32", [999, 8], file.memory);
      using ids = OrtValue.overMemory("int64", [2], new BigInt64Array([0n, 998n]));
      const [result] = session.runSync([table, ids]);
      assert.deepEqual([...result!.view()].slice(7, 9), [15, 7992]);
      result?.dispose();
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it("takes weights from memory that several sessions share", async () => {
    const weights = new Float32Array([2, 3]);
    const model = withInitializer(addModel);
    const value = OrtValue.overMemory("float32", [2], weights);
    const initializers = new Map([["in1", value]]);
    const sessions = [
      await ort.createSession(model, { initializers, prepacking: false }),
      ort.createSessionSync(model, { initializers }),
    ];
    value.dispose(); // the sessions still hold it
    for (const session of sessions) {
      using x = OrtValue.fromTensor(floats(1, 1));
      const [result] = session.runSync(session.inputs.length === 1 ? [x] : []);
      assert.deepEqual([...result!.view()], [3, 4]);
      result?.dispose();
      session.close();
    }
  });

  it("reports failures with ORT's text and code, and goes on", async () => {
    const before = ort.live;
    await assert.rejects(ort.createSession(new Uint8Array([1, 2, 3])), (error: Error) => {
      assert.ok(isServingError(error, "ENGINE_FAILED"));
      assert.equal(error.details["ortCode"], "INVALID_PROTOBUF");
      return true;
    });
    assert.throws(() => ort.createSessionSync(opModel("NoSuchOp", [F32([1])], [F32([1])])), isEngineFailure);
    using session = ort.createSessionSync(addModel);
    using a = OrtValue.fromTensor(floats(1, 2));
    using b = OrtValue.fromTensor(floats(1, 2, 3));
    assert.throws(() => session.runSync([a, b]), isEngineFailure);
    await assert.rejects(session.run([a, b]), isEngineFailure);
    using wrong = OrtValue.overMemory("int32", [2], new Int32Array(2));
    assert.throws(
      () => session.runSync([a, wrong]),
      (error) => isServingError(error) && error.details["ortCode"] === "INVALID_ARGUMENT",
    );
    const [sum] = session.runSync([a, a]);
    assert.deepEqual([...sum!.view()], [2, 4]);
    sum?.dispose();
    assert.deepEqual(ort.live.sessions, before.sessions + 1);
  });

  it("stops a run when its signal aborts, and keeps the event loop free meanwhile", async () => {
    const size = 1400;
    const matrix = F32([size, size]);
    using session = ort.createSessionSync(matMulChain(12, size));
    using a = OrtValue.overMemory("float32", matrix.shape, allocate(size * size * 4));
    const abort = new AbortController();
    const reason = new Error("enough");
    setTimeout(() => abort.abort(reason), 30);
    let ticks = 0;
    const ticker = setInterval(() => ticks++, 5);
    await assert.rejects(session.run([a], { signal: abort.signal }), (error) => error === reason);
    clearInterval(ticker);
    assert.ok(ticks >= 3, `${ticks} ticks`);
    await assert.rejects(session.run([a], { signal: abort.signal }), (error) => error === reason);
  });

  it("stops a load when its signal aborts", async () => {
    const before = ort.live;
    const reason = new Error("never mind");
    const abort = new AbortController();
    const loads = Array.from({ length: 6 }, () => ort.createSession(addModel, { signal: abort.signal }));
    abort.abort(reason);
    for (const outcome of await Promise.allSettled(loads)) {
      assert.equal(outcome.status === "rejected" && outcome.reason, reason);
    }
    await assert.rejects(ort.createSession(addModel, { signal: abort.signal }), (error) => error === reason);
    assert.deepEqual(ort.live, before);
  });

  it("loads in the background: the same session, the same errors, one after another", async () => {
    const before = ort.live;
    const options = { isInBackground: true };
    const sessions = await Promise.all([1, 2, 3].map(() => ort.createSession(addModel, options)));
    using a = OrtValue.fromTensor(floats(1, 2));
    for (const session of sessions) {
      const [result] = await session.run([a, a]);
      assert.deepEqual([...result!.view()], [2, 4]);
      result!.dispose();
      session.close();
    }
    await assert.rejects(
      ort.createSession(new Uint8Array([1, 2, 3]), options),
      (error) => isServingError(error, "ENGINE_FAILED") && error.details?.["ortCode"] === "INVALID_PROTOBUF",
    );
    const abort = new AbortController();
    const aborted = ort.createSession(addModel, { ...options, signal: abort.signal });
    abort.abort(new Error("never mind"));
    await assert.rejects(aborted, /never mind/);
    assert.equal(ort.live.sessions, before.sessions);
  });

  it("frees hundreds of sessions that are closed at once on other threads", async () => {
    const before = ort.live.sessions;
    const sessions = Array.from({ length: 400 }, () => ort.createSessionSync(addModel));
    await Promise.all(sessions.map((session) => session.closeElsewhere()));
    assert.equal(ort.live.sessions, before);
  });

  it("frees a session on another thread, after its last run", async () => {
    const before = ort.live;
    const idle = ort.createSessionSync(addModel);
    await idle.closeElsewhere();
    await idle.closeElsewhere();
    idle.close();
    assert.deepEqual(ort.live, before);
    const busy = ort.createSessionSync(addModel);
    using a = OrtValue.fromTensor(floats(1, 2));
    const run = busy.run([a, a]);
    await busy.closeElsewhere();
    assert.equal(ort.live.sessions, before.sessions + 1);
    const [result] = await run;
    assert.deepEqual([...result!.view()], [2, 4]);
    result?.dispose();
    assert.equal(ort.live.sessions, before.sessions);
  });

  it("survives a session and values that are closed while a run uses them", async () => {
    const before = ort.live;
    const session = ort.createSessionSync(addModel);
    const a = OrtValue.fromTensor(floats(1, 2));
    const runs = [session.run([a, a]), session.run([a, a])];
    a.dispose();
    session.close();
    session.close();
    for (const run of runs) {
      const [result] = await run;
      assert.deepEqual([...result!.view()], [2, 4]);
      result?.dispose();
    }
    assert.deepEqual(ort.live, before);
  });

  it("does not grow over many runs", async function () {
    this.timeout(60_000);
    using session = ort.createSessionSync(addModel);
    const once = async () => {
      using a = OrtValue.fromTensor(tensor("float32", [1000], new Float32Array(1000)));
      for (const value of session.runSync([a, a])) value.dispose();
      for (const value of await session.run([a, a])) value.dispose();
    };
    for (let i = 0; i < 500; i++) await once();
    const before = { live: ort.live, rss: process.memoryUsage().rss };
    await Promise.all(Array.from({ length: 300 }, once)); // more than koffi takes at once
    for (let i = 0; i < 5000; i++) await once();
    assert.deepEqual(ort.live, before.live);
    const grownMiB = (process.memoryUsage().rss - before.rss) / 2 ** 20;
    assert.ok(grownMiB < 64, `grew by ${grownMiB.toFixed(1)} MiB`);
  });
});

/** Declares in1 as an initializer without data: GraphProto.initializer(5){dims(1)=2, data_type(2)=1, name(8)}. */
function withInitializer(model: Uint8Array): Uint8Array {
  const initializer = [0x2a, 9, 0x08, 2, 0x10, 1, 0x42, 3, ...Buffer.from("in1")];
  return growGraph(model, new Uint8Array(initializer));
}

/** out = in0 x in0 x ... (count products): one long run with many places to stop at. */
function matMulChain(count: number, size: number): Uint8Array {
  const shape = [size, size];
  const first = opModel("MatMul", [F32(shape)], [F32(shape)]);
  const node = (from: string, to: string) => {
    const fields = [
      [0x0a, from],
      [0x0a, "in0"],
      [0x12, to],
      [0x22, "MatMul"],
    ].flatMap(([tag, text]) => [tag as number, (text as string).length, ...Buffer.from(text as string)]);
    return [0x0a, fields.length, ...fields];
  };
  const nodes = Array.from({ length: count }, (_, i) =>
    node(i === 0 ? "in0" : `t${i}`, i === count - 1 ? "out0" : `t${i + 1}`),
  );
  return growGraph(first, new Uint8Array(nodes.flat()), true);
}

/** Appends fields to a model's graph; `instead` drops the graph's first node. Relies on opModel's field order. */
function growGraph(model: Uint8Array, fields: Uint8Array, instead = false): Uint8Array {
  const reader = { at: 3 };
  const length = readVarint(model, reader);
  let graph = model.subarray(reader.at, reader.at + length);
  const rest = model.subarray(reader.at + length);
  if (instead) {
    const inner = { at: 1 };
    const nodeLength = readVarint(graph, inner);
    graph = graph.subarray(inner.at + nodeLength);
  }
  const total = graph.length + fields.length;
  const header = [0x3a, (total & 0x7f) | 0x80, ((total >> 7) & 0x7f) | 0x80, total >> 14];
  return new Uint8Array(Buffer.concat([model.subarray(0, 2), new Uint8Array(header), graph, fields, rest]));
}

function readVarint(bytes: Uint8Array, reader: { at: number }): number {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[reader.at++]!;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}
