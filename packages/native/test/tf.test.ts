import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type AttrValue, AttrValueSchema, create, GraphDefSchema, type NodeDef, toBinary } from "@shardserve/api";
import { isServingError } from "@shardserve/core";
import { DTYPES, type DType, newData, type NumericDType, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { NO_TENSORFLOW, tensorFlowDir } from "@shardserve/testkit";
import fc from "fast-check";
import { allocate, loadTensorFlow, type TensorFlow, type TfSession, TfTensor } from "../src/index.js";

type Node = Partial<Omit<NodeDef, "attr">> & { readonly attr?: Readonly<Record<string, AttrValue>> };
const type = (dtype: DType): AttrValue => create(AttrValueSchema, { value: { case: "type", value: DTYPES[dtype].tf } });
const graph = (...node: Node[]): Uint8Array =>
  toBinary(GraphDefSchema, create(GraphDefSchema, { node: node as never, versions: { producer: 1087 } }));
const placeholder = (name: string, dtype: DType): Node => ({ name, op: "Placeholder", attr: { dtype: type(dtype) } });
const identity = (dtype: DType) =>
  graph(placeholder("x", dtype), { name: "y", op: "Identity", input: ["x"], attr: { T: type(dtype) } });
const X = { node: "x", index: 0 };
const Y = { node: "y", index: 0 };
const floats = (...values: number[]) => tensor("float32", [values.length], Float32Array.from(values));

describe("TensorFlow's library", () => {
  it("is named when it is not there", async () => {
    const empty = mkdtempSync(join(tmpdir(), "no-tensorflow-"));
    await assert.rejects(loadTensorFlow({ directory: empty }), (error) => isServingError(error, "DEPENDENCY_MISSING"));
    rmSync(empty, { recursive: true });
  });
});

describe("TensorFlow", function () {
  this.timeout(60_000); // the library is a gigabyte, and cold the first time
  let tf: TensorFlow;

  before(async function () {
    const directory = tensorFlowDir();
    if (directory === undefined) {
      console.log(NO_TENSORFLOW);
      this.skip();
    }
    tf = await loadTensorFlow({ directory, device: "cpu", intraOpThreads: 2, interOpThreads: 2 });
  });

  afterEach(() => assert.deepEqual(tf.live, { tensors: 0, sessions: 0 }, "nothing is left behind"));

  async function roundTrip(value: Tensor): Promise<Tensor> {
    using session = await tf.createSession(identity(value.dtype));
    using fed = TfTensor.fromTensor(value);
    const [result] = await session.callable([X], [Y]).run([fed]);
    const copy = result!.toTensor();
    result!.dispose();
    return copy;
  }

  it("is one per process, and says what it is", async () => {
    assert.match(tf.version, /^2\.\d+\.\d+/);
    assert.deepEqual(
      tf.devices.map(({ type: kind }) => kind),
      ["CPU"],
    );
    assert.equal(tf.hasGpu, false);
    await assert.rejects(loadTensorFlow({ directory: "/elsewhere" }), (error) =>
      isServingError(error, "CONFIG_INVALID"),
    );
  });

  it("knows its ops and their kernels", () => {
    assert.ok(tf.hasOp("MatMul") && !tf.hasOp("NoSuchOp"));
    const cpu = tf.kernelsOf("MatMul").filter(({ device }) => device === "CPU");
    assert.ok(cpu.some(({ dtypes }) => dtypes.get("T")?.has("float32")));
    assert.ok(!cpu.some(({ dtypes }) => dtypes.get("T")?.has("bool")));
    assert.deepEqual(tf.kernelsOf("NoSuchOp"), []);
  });

  const numeric = (Object.keys(DTYPES) as DType[]).filter(
    (dtype): dtype is NumericDType => !["string", "resource", "variant"].includes(dtype),
  );
  for (const dtype of numeric) {
    it(`carries ${dtype}, empty and scalar ones too`, async () => {
      const lanes = dtype.startsWith("complex") ? 2 : 1;
      const filled = newData(dtype, 6 * lanes);
      new Uint8Array(filled.buffer).forEach((_, i, bytes) => {
        bytes[i] = dtype === "bool" ? i % 2 : (i * 7) & 0x3f;
      });
      const value = tensor(dtype, [2, 3], filled as never) as Tensor;
      assert.deepEqual(await roundTrip(value), value);
      const empty = tensor(dtype, [0, 4], newData(dtype, 0) as never) as Tensor;
      assert.deepEqual(await roundTrip(empty), empty);
      const scalar = tensor(dtype, [], filled.slice(0, lanes) as never) as Tensor;
      assert.deepEqual(await roundTrip(scalar), scalar);
    });
  }

  it("carries any strings, short and long", async () => {
    using session = await tf.createSession(
      graph(
        placeholder("x", "string"),
        {
          name: "y",
          op: "StringJoin",
          input: ["x", "x"],
          attr: { N: create(AttrValueSchema, { value: { case: "i", value: 2n } }) },
        },
        { name: "z", op: "Identity", input: ["x"], attr: { T: type("string") } },
      ),
    );
    const callable = session.callable([X], [Y, { node: "z", index: 0 }]);
    const length = fc.constantFrom(0, 1, 21, 22, 23, 24, 100);
    const text = length.chain((size) => fc.uint8Array({ minLength: size, maxLength: size }));
    await fc.assert(
      fc.asyncProperty(fc.array(text, { maxLength: 8 }), async (texts) => {
        // A column whose first string does not begin at byte 0 of its buffer.
        const whole = StringColumn.from([new Uint8Array(3), ...texts]);
        const column = new StringColumn(whole.bytes, whole.offsets.subarray(1));
        using fed = TfTensor.fromTensor(tensor("string", [texts.length], column));
        const [joined, same] = await callable.run([fed]);
        const expected = texts.map((bytes) => Buffer.from(bytes));
        const read = (value: Tensor) => expected.map((_, i) => Buffer.from((value.data as StringColumn).at(i)));
        assert.deepEqual(read(same!.toTensor()), expected);
        assert.deepEqual(
          read(joined!.toTensor()),
          expected.map((bytes) => Buffer.concat([bytes, bytes])),
        );
        joined!.dispose();
        same!.dispose();
      }),
      { numRuns: 60 },
    );
  });

  /** y = a long chain of matrix products of x. */
  function slowGraph(): Uint8Array {
    const products = Array.from(
      { length: 40 },
      (_, i): Node => ({
        name: i === 39 ? "y" : `p${i}`,
        op: "MatMul",
        input: [i === 0 ? "x" : `p${i - 1}`, "x"],
        attr: { T: type("float32") },
      }),
    );
    return graph(placeholder("x", "float32"), ...products);
  }
  const square = tensor("float32", [512, 512], new Float32Array(512 * 512));

  it("runs off the event loop", async () => {
    using session = await tf.createSession(slowGraph());
    using fed = TfTensor.fromTensor(square);
    let turns = 0;
    let isOver = false;
    const running = session
      .callable([X], [Y])
      .run([fed])
      .finally(() => (isOver = true));
    while (!isOver) {
      turns++;
      await nextTurn();
    }
    const [result] = await running;
    result!.dispose();
    assert.ok(turns > 10, `${turns} turns of the event loop went by`);
  });

  it("stops a run when its time is up, and throws the reason of an abort", async () => {
    using session = await tf.createSession(slowGraph());
    using fed = TfTensor.fromTensor(square);
    const callable = session.callable([X], [Y]);
    await assert.rejects(callable.run([fed], { timeoutMs: 1 }), (error) => isServingError(error, "DEADLINE_EXCEEDED"));
    const controller = new AbortController();
    const running = callable.run([fed], { signal: controller.signal });
    controller.abort(new Error("no longer wanted"));
    await assert.rejects(running, /no longer wanted/);
    await assert.rejects(callable.run([fed], { signal: controller.signal }), /no longer wanted/);
  });

  it("ends a session and its feeds only when the last run is over", async () => {
    const session: TfSession = await tf.createSession(slowGraph());
    const fed = TfTensor.fromTensor(square);
    const running = session.callable([X], [Y]).run([fed]);
    session.close();
    fed.dispose();
    assert.equal(tf.live.sessions, 1);
    const [result] = await running;
    result!.dispose();
  });

  it("aliases aligned memory and gives variables their value", async () => {
    using memory = allocate(64);
    new Float32Array(memory.bytes.buffer, memory.bytes.byteOffset, 3).set([1, 2, 3]);
    const attr = { dtype: type("float32") };
    const session = await tf.createSession(
      graph(
        {
          name: "v",
          op: "VarHandleOp",
          attr: {
            ...attr,
            shape: create(AttrValueSchema, { value: { case: "shape", value: { unknownRank: true } } as never }),
          },
        },
        placeholder("x", "float32"),
        { name: "assign", op: "AssignVariableOp", input: ["v", "x"], attr },
        { name: "y", op: "ReadVariableOp", input: ["v"], attr },
      ),
    );
    await assert.rejects(session.callable([], [Y]).run([]), /[Uu]ninitialized|Could not find variable/);
    const value = TfTensor.overMemory("float32", [3], memory);
    session.keep([value]);
    await session.callable([X], [], ["assign"]).run([value]);
    const [read] = session.callable([], [Y]).runSync([]);
    assert.deepEqual(read!.toTensor(), floats(1, 2, 3));
    read!.dispose();
    session.close();
  });

  it("refuses in TensorFlow's words, naming the node", async () => {
    using session = await tf.createSession(
      graph(placeholder("x", "float32"), placeholder("w", "float32"), {
        name: "product",
        op: "MatMul",
        input: ["x", "w"],
        attr: { T: type("float32") },
      }),
    );
    const callable = session.callable([X, { node: "w", index: 0 }], [{ node: "product", index: 0 }]);
    using a = TfTensor.fromTensor(tensor("float32", [2, 2], new Float32Array(4)));
    using b = TfTensor.fromTensor(tensor("float32", [3, 3], new Float32Array(9)));
    const names = (error: unknown) => isServingError(error, "INVALID_ARGUMENT") && /product/.test(error.message);
    await assert.rejects(callable.run([a, b]), names);
    assert.throws(() => callable.runSync([a, b]), names);
    using ids = TfTensor.fromTensor(tensor("int64", [1], BigInt64Array.of(1n)));
    await assert.rejects(callable.run([ids, b]), /Expects arg\[\d\] to be float but int64 is provided/);
    assert.throws(
      () => session.callable([X], [{ node: "absent", index: 0 }]),
      (error) => isServingError(error, "GRAPH_INVALID"),
    );
    assert.throws(
      () => session.callable([X], [{ node: "product", index: 1 }]),
      (error) => isServingError(error, "GRAPH_INVALID"),
    );
    await assert.rejects(tf.createSession(graph({ name: "q", op: "NoSuchOp" })), /NoSuchOp/);
    await assert.rejects(tf.createSession(new Uint8Array([1, 2, 3])), (error) =>
      isServingError(error, "INVALID_ARGUMENT"),
    );
  });
});
