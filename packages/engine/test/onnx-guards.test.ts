import assert from "node:assert/strict";
import { create, onnx } from "@shardserve/api";
import { isServingError } from "@shardserve/core";
import { DTYPES, newData, type NumericDType, type Tensor, tensor } from "@shardserve/tensor";
import { tempDir } from "@shardserve/testkit";
import { FLOAT, floats, INT64, int, loadNodes, node, type Parts, text, value } from "./onnx-nodes.js";

const INT32 = DTYPES.int32.onnx;
const INT8 = DTYPES.int8.onnx;
const UINT64 = DTYPES.uint64.onnx;
const { GRAPH } = onnx.AttributeProto_AttributeType;
const LEAST = { int32: -(2n ** 31n), int64: -(2n ** 63n) };
type Int = keyof typeof LEAST;

const ints = (dtype: Int, values: readonly bigint[]): Tensor =>
  dtype === "int64"
    ? tensor(dtype, [values.length], BigInt64Array.from(values))
    : tensor(dtype, [values.length], Int32Array.from(values, Number));
const bigints = ({ data }: Tensor) => Array.from(data as Int32Array | BigInt64Array, BigInt);

/** Nodes that put `op(x, y)` into `z`, in places where its type is told and where it is not. */
function places(op: string): Record<string, Pick<Parts, "nodes" | "functions">> {
  const inner = (name: string) => {
    const g = create(onnx.GraphProtoSchema, {
      name,
      node: [node(op, ["x", "y"], [`${name}_z`])],
      output: [create(onnx.ValueInfoProtoSchema, { name: `${name}_z` })],
    });
    return create(onnx.AttributeProtoSchema, { name, type: GRAPH, g });
  };
  const fn = create(onnx.FunctionProtoSchema, {
    name: "Divide",
    domain: "own",
    input: ["a", "b"],
    output: ["c"],
    opsetImport: [{ version: 17n }],
    node: [node("Identity", ["a"], ["same"]), node(op, ["same", "b"], ["c"])],
  });
  return {
    "in the graph": { nodes: [node(op, ["x", "y"], ["z"])] },
    "of computed values": {
      nodes: [node("Unsqueeze", ["x", "axis"], ["x2"]), node("Identity", ["y"], ["y2"]), node(op, ["x2", "y2"], ["z"])],
    },
    "in a branch": {
      nodes: [
        node("Shape", ["x"], ["shape"]),
        node("ReduceMax", ["shape"], ["longest"], [int("keepdims", 0)]),
        node("Equal", ["longest", "longest"], ["always"]),
        node("If", ["always"], ["z"], [inner("then_branch"), inner("else_branch")]),
      ],
    },
    "in a function": {
      nodes: [create(onnx.NodeProtoSchema, { opType: "Divide", domain: "own", input: ["x", "y"], output: ["z"] })],
      functions: [fn],
    },
  };
}

describe("integer division in ONNX models does not end the process", () => {
  const axis = create(onnx.TensorProtoSchema, { name: "axis", dims: [1n], dataType: INT64, int64Data: [0n] });
  for (const op of ["Div", "Mod"])
    for (const [place, parts] of Object.entries(places(op)))
      for (const dtype of ["int32", "int64"] as const)
        it(`${op} of ${dtype} by -1, ${place}`, async () => {
          await using dir = await tempDir();
          const type = DTYPES[dtype].onnx;
          const inputs = [value("x", type, ["n"]), value("y", type, ["n"])];
          const model = await loadNodes(dir.path, {
            ...parts,
            inputs,
            outputs: [value("z", type)],
            initialisers: [axis],
          });
          const least = LEAST[dtype];
          const xs = [least, least, -7n, 7n, 0n, least, 7n, -7n, least + 1n];
          const ys = [-1n, 1n, -1n, -1n, -1n, least, 2n, 2n, -1n];
          const { outputs } = await model.run(
            "serving_default",
            new Map([
              ["x", ints(dtype, xs)],
              ["y", ints(dtype, ys)],
            ]),
            {},
          );
          const wrap = (n: bigint) => BigInt.asIntN(dtype === "int32" ? 32 : 64, n);
          // Div truncates; a remainder of Mod has the divisor's sign.
          const expected = xs.map((n, i) => (op === "Div" ? wrap(n / ys[i]!) : ((n % ys[i]!) + ys[i]!) % ys[i]!));
          assert.deepEqual(bigints(outputs.get("z")!), expected);
          await model.close();
        });

  for (const dtype of ["int32", "int64"] as const)
    it(`Div of ${dtype} by -1, in opset 8, which has no Where`, async () => {
      await using dir = await tempDir();
      const type = DTYPES[dtype].onnx;
      const inputs = [value("x", type, ["n"]), value("y", type, ["n"])];
      const nodes = [node("Div", ["x", "y"], ["z"])];
      const model = await loadNodes(dir.path, { nodes, inputs, outputs: [value("z", type)], opset: 8 });
      const least = LEAST[dtype];
      const feeds = new Map([
        ["x", ints(dtype, [least, -7n, 7n, -7n, least])],
        ["y", ints(dtype, [-1n, -1n, 1n, 2n, least])],
      ]);
      const { outputs } = await model.run("serving_default", feeds, {});
      assert.deepEqual(bigints(outputs.get("z")!), [least, 7n, 7n, -3n, 1n]);
      await model.close();
    });

  it("leaves floats and divisors that are known as they are", async () => {
    await using dir = await tempDir();
    const two = create(onnx.TensorProtoSchema, { name: "two", dims: [], dataType: INT64, int64Data: [2n] });
    const model = await loadNodes(dir.path, {
      nodes: [node("Div", ["x", "y"], ["z"]), node("Mod", ["n", "two"], ["odd"])],
      inputs: [value("x", FLOAT, ["n"]), value("y", FLOAT, ["n"]), value("n", INT64, ["n"])],
      outputs: [value("z", FLOAT), value("odd", INT64)],
      initialisers: [two],
    });
    const { outputs } = await model.run(
      "serving_default",
      new Map([
        ["x", tensor("float32", [3], Float32Array.of(1, -3, 5))],
        ["y", tensor("float32", [3], Float32Array.of(-1, -1.5, 0))],
        ["n", ints("int64", [LEAST.int64, 5n, -5n])],
      ]),
      {},
    );
    assert.deepEqual(Array.from(outputs.get("z")!.data as Float32Array), [-1, 2, Infinity]);
    assert.deepEqual(bigints(outputs.get("odd")!), [0n, 1n, 1n]);
    await model.close();
  });

  it("keeps the sign of floats whose type is not told: a function that is called with both", async () => {
    await using dir = await tempDir();
    const [{ functions = [] } = {}] = [places("Div")["in a function"]];
    const call = (input: string[], output: string) =>
      create(onnx.NodeProtoSchema, { opType: "Divide", domain: "own", input, output: [output] });
    const model = await loadNodes(dir.path, {
      nodes: [call(["x", "y"], "z"), call(["n", "m"], "k")],
      functions,
      inputs: [value("x", FLOAT, ["n"]), value("y", FLOAT, ["n"]), value("n", INT32, ["n"]), value("m", INT32, ["n"])],
      outputs: [value("z", FLOAT), value("k", INT32)],
    });
    const y = Float32Array.of(-1, -1.5, -0.5, -1);
    const { outputs } = await model.run(
      "serving_default",
      new Map([
        ["x", tensor("float32", [4], Float32Array.of(1, 3, 5, -Infinity))],
        ["y", tensor("float32", [4], y)],
        ["n", ints("int32", [LEAST.int32, 9n, 9n, 0n])],
        ["m", ints("int32", [-1n, -1n, 2n, -1n])],
      ]),
      {},
    );
    assert.deepEqual(Array.from(outputs.get("z")!.data as Float32Array), [-1, -2, -10, Infinity]);
    assert.deepEqual(bigints(outputs.get("k")!), [LEAST.int32, -9n, 4n, 0n]);
    await model.close();
  });

  const most = (1n << 64n) - 1n;
  const typed = { int8: INT8, uint64: UINT64, int64: INT64, float32: FLOAT } as const;
  /** A function of both operands, called with every type of `typed`, so that its own is not known; `z_TYPE` is what it gives. */
  const untyped = (op: string, dtypes: readonly (keyof typeof typed)[], opset: number): Parts => ({
    nodes: dtypes.map((dtype) =>
      create(onnx.NodeProtoSchema, {
        opType: "Divide",
        domain: "own",
        input: [`x_${dtype}`, `y_${dtype}`],
        output: [`z_${dtype}`],
      }),
    ),
    functions: [
      create(onnx.FunctionProtoSchema, {
        name: "Divide",
        domain: "own",
        input: ["a", "b"],
        output: ["c"],
        opsetImport: [{ version: BigInt(opset) }],
        node: [node(op, ["a", "b"], ["c"])],
      }),
    ],
    inputs: dtypes.flatMap((dtype) => ["x", "y"].map((name) => value(`${name}_${dtype}`, typed[dtype]))),
    outputs: dtypes.map((dtype) => value(`z_${dtype}`, typed[dtype])),
    opset,
  });

  for (const op of ["Div", "Mod"])
    it(`${op} of a type that is not told`, async () => {
      await using dir = await tempDir();
      const isDiv = op === "Div";
      const model = await loadNodes(
        dir.path,
        untyped(op, isDiv ? ["int64", "float32"] : ["int64", "int8", "uint64"], 17),
      );
      const feeds = new Map<string, Tensor>([
        ["x_int64", ints("int64", [LEAST.int64, -7n, 9n, -9n])],
        ["y_int64", ints("int64", [-1n, -1n, 2n, 4n])],
        ["x_int8", tensor("int8", [1, 4], Int8Array.of(-128, 7, -7, 9))],
        ["y_int8", tensor("int8", [2, 1], Int8Array.of(-1, 4))],
        ["x_uint64", tensor("uint64", [3], BigUint64Array.of(most, 5n, most))],
        ["y_uint64", tensor("uint64", [3], BigUint64Array.of(most, most, 10n))],
        ["x_float32", tensor("float32", [5], Float32Array.of(0, 3, 1, -0, Infinity))],
        ["y_float32", tensor("float32", [5], Float32Array.of(-1, -1.5, -0, -1, -1))],
      ]);
      const asked = new Map([...feeds].filter(([name]) => model.signatures.get("serving_default")!.inputs.has(name)));
      const { outputs } = await model.run("serving_default", asked, {});
      const found = (dtype: string) => Array.from(outputs.get(`z_${dtype}`)!.data as Iterable<number | bigint>);
      if (isDiv) {
        assert.deepEqual(found("int64"), [LEAST.int64, 7n, 4n, -2n]);
        assert.deepEqual(found("float32"), [-0, -2, -Infinity, 0, -Infinity]);
      } else {
        assert.deepEqual(found("int64"), [0n, 0n, 1n, 3n]);
        assert.deepEqual(found("int8"), [0, 0, 0, 0, 0, 3, 1, 1]);
        assert.deepEqual(outputs.get("z_int8")!.shape, [2, 4]);
        assert.deepEqual(found("uint64"), [0n, 5n, 5n]);
      }
      const none = new Map(
        [...asked].map(([name, { dtype }]) => [name, tensor(dtype, [0, 3], newData(dtype as NumericDType, 0))]),
      );
      for (const { shape } of (await model.run("serving_default", none, {})).outputs.values())
        assert.deepEqual(shape, [0, 3]);
      await model.close();
    });

  it("Div of a type that is not told, in opset 8, which cannot choose by element: what would trap is refused", async () => {
    await using dir = await tempDir();
    const model = await loadNodes(dir.path, untyped("Div", ["int64", "float32"], 8));
    const run = async (x: bigint[], y: bigint[]) =>
      model.run(
        "serving_default",
        new Map([
          ["x_int64", ints("int64", x)],
          ["y_int64", ints("int64", y)],
          ["x_float32", tensor("float32", [2], Float32Array.of(3, 0))],
          ["y_float32", tensor("float32", [2], Float32Array.of(-1, -1))],
        ]),
        {},
      );
    const { outputs } = await run([LEAST.int64, 7n], [2n, -1n]);
    assert.deepEqual(bigints(outputs.get("z_int64")!), [LEAST.int64 / 2n, -7n]);
    assert.deepEqual(Array.from(outputs.get("z_float32")!.data as Float32Array), [-3, -0]);
    await assert.rejects(
      run([LEAST.int64, 7n], [-1n, -1n]),
      (error) => isServingError(error, "INVALID_ARGUMENT") && /least integer/.test(error.message),
    );
    await model.close();
  });
});

describe("tensors of another rank in ONNX models do not end the process", () => {
  const float32 = (shape: number[]) =>
    tensor(
      "float32",
      shape,
      newData(
        "float32",
        shape.reduce((a, b) => a * b, 1),
      ),
    );
  const int64 = (shape: number[]) =>
    tensor(
      "int64",
      shape,
      newData(
        "int64",
        shape.reduce((a, b) => a * b, 1),
      ).fill(1n as never),
    );
  const recurrent = (op: string, gates: number): readonly [Parts, Tensor[], Tensor[][]] => [
    {
      nodes: [node(op, ["x", "w", "r"], ["", "last"], [int("hidden_size", 4)])],
      inputs: [value("x", FLOAT)],
      outputs: [value("last", FLOAT)],
      initialisers: [floats("w", [1, 4 * gates, 3]), floats("r", [1, 4 * gates, 4])],
    },
    [float32([2, 5, 3])],
    [[float32([])], [float32([3])], [float32([5, 3])], [float32([2, 5, 3, 1])]],
  ];
  const cases: Record<string, readonly [parts: Parts, taken: Tensor[], refused: Tensor[][]]> = {
    LSTM: recurrent("LSTM", 4),
    GRU: recurrent("GRU", 3),
    RNN: recurrent("RNN", 1),
    ReverseSequence: [
      {
        nodes: [node("ReverseSequence", ["x", "n"], ["y"])],
        inputs: [value("x", FLOAT), value("n", INT64)],
        outputs: [value("y", FLOAT)],
      },
      [float32([3, 2]), int64([2])],
      [
        [float32([]), int64([1])],
        [float32([2]), int64([2])],
        [float32([2, 2]), int64([])],
        [float32([]), int64([])],
        [float32([2, 2]), int64([2, 1])],
      ],
    ],
    Einsum: [
      {
        nodes: [node("Einsum", ["x", "w"], ["y"], [text("equation", "ij, jk -> ik")])],
        inputs: [value("x", FLOAT), value("w", FLOAT)],
        outputs: [value("y", FLOAT)],
      },
      [float32([2, 3]), float32([3, 2])],
      [
        [float32([3]), float32([3, 2])],
        [float32([2, 3]), float32([])],
      ],
    ],
    "Einsum of a shape that is asked for": [
      {
        nodes: [
          node("Identity", ["shape"], ["same"]),
          node("Reshape", ["x", "same"], ["z"]),
          node("Einsum", ["z", "w"], ["y"], [text("equation", "ij, jk -> ik")]),
        ],
        inputs: [value("x", FLOAT, ["n"]), value("shape", INT64, ["rank"]), value("w", FLOAT, ["j", "k"])],
        outputs: [value("y", FLOAT)],
      },
      [float32([1]), int64([2]), float32([1, 2])],
      [
        [float32([1]), int64([1]), float32([1, 2])],
        [float32([1]), int64([0]), float32([1, 2])],
        [float32([1]), int64([3]), float32([1, 2])],
      ],
    ],
    Conv: [
      {
        nodes: [node("Conv", ["x", "w"], ["y"])],
        inputs: [value("x", FLOAT), value("w", FLOAT)],
        outputs: [value("y", FLOAT)],
      },
      [float32([1, 2, 3]), float32([2, 2, 1])],
      [
        [float32([]), float32([])],
        [float32([2]), float32([2])],
      ],
    ],
    Concat: [
      {
        nodes: [node("Concat", ["x", "w"], ["y"], [int("axis", 0)])],
        inputs: [value("x", FLOAT), value("w", FLOAT)],
        outputs: [value("y", FLOAT)],
      },
      [float32([1, 2]), float32([3, 2])],
      [
        [float32([]), float32([])],
        [float32([2]), float32([1, 2])],
        [float32([1, 2]), float32([2])],
        [float32([1, 2]), float32([])],
      ],
    ],
    Attention: [
      {
        nodes: [node("Attention", ["q", "k", "v"], ["y"])],
        inputs: [value("q", FLOAT), value("k", FLOAT), value("v", FLOAT)],
        outputs: [value("y", FLOAT)],
        opset: 23,
      },
      [float32([1, 2, 3, 4]), float32([1, 2, 3, 4]), float32([1, 2, 3, 4])],
      [
        [float32([]), float32([]), float32([])],
        [float32([1, 3, 8]), float32([1, 3, 8]), float32([1, 3, 8])],
        [float32([1, 2, 3, 4]), float32([1, 3, 8]), float32([1, 3, 8])],
      ],
    ],
    "Attention with heads": [
      {
        nodes: [node("Attention", ["q", "k", "v"], ["y"], [int("q_num_heads", 2), int("kv_num_heads", 2)])],
        inputs: [value("q", FLOAT), value("k", FLOAT), value("v", FLOAT)],
        outputs: [value("y", FLOAT)],
        opset: 23,
      },
      [float32([1, 3, 8]), float32([1, 3, 8]), float32([1, 3, 8])],
      [
        [float32([]), float32([]), float32([])],
        [float32([3, 8]), float32([1, 3, 8]), float32([1, 3, 8])],
        [float32([1, 3, 8]), float32([1, 3, 8]), float32([])],
      ],
    ],
    RoiAlign: [
      {
        nodes: [node("RoiAlign", ["x", "rois", "n"], ["y"])],
        inputs: [value("x", FLOAT), value("rois", FLOAT), value("n", INT64)],
        outputs: [value("y", FLOAT)],
      },
      [float32([2, 1, 4, 4]), float32([3, 4]), int64([3])],
      [
        [float32([]), float32([3, 4]), int64([3])],
        [float32([4, 4]), float32([3, 4]), int64([3])],
        [float32([2, 1, 4, 4]), float32([4]), int64([3])],
        [float32([2, 1, 4, 4]), float32([3, 4]), int64([])],
      ],
    ],
  };
  for (const [what, [parts, taken, refused]] of Object.entries(cases))
    it(`${what} refuses them by name, and goes on`, async () => {
      await using dir = await tempDir();
      const model = await loadNodes(dir.path, parts);
      const run = (feeds: Tensor[]) =>
        model.run("serving_default", new Map(parts.inputs.map(({ name }, i) => [name, feeds[i]!])), {});
      for (const feeds of refused)
        await assert.rejects(
          run(feeds),
          (error) =>
            isServingError(error, "INVALID_ARGUMENT") &&
            error.message.includes("a rank that the op does not take") &&
            error.message.includes(`node ${parts.nodes.at(-1)!.name}`),
        );
      assert.equal((await run(taken)).outputs.size, 1);
      await model.close();
    });
});
