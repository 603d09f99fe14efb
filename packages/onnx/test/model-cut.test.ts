import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { create, onnx, toBinary } from "@shardserve/api";
import { isServingError, ServingError } from "@shardserve/core";
import { loadOrt, OrtValue } from "@shardserve/native";
import {
  cutModel,
  decodeOnnxModel,
  encodeStage,
  findOnnxTables,
  type OnnxCut,
  type OnnxValueType,
  tensorInfo,
} from "@shardserve/onnx";
import { REPO_DIR } from "@shardserve/testkit";
import { bytesOf, DTYPES } from "@shardserve/tensor";
import fc from "fast-check";

const FUZZ_MS = Number(process.env["FUZZ_MS"] ?? 300);
const INT64 = DTYPES.int64.onnx;
const vector = { shape: [-1], symbols: ["n"] };

const node = (opType: string, input: string[], output: string, more: { name?: string; axis?: number } = {}) =>
  create(onnx.NodeProtoSchema, {
    opType,
    input,
    output: [output],
    name: more.name ?? output,
    attribute: more.axis === undefined ? [] : [{ name: "axis", type: 2, i: BigInt(more.axis) }],
  });

const initialiser = (name: string, values: readonly number[]) =>
  create(onnx.TensorProtoSchema, {
    name,
    dataType: INT64,
    dims: [BigInt(values.length)],
    rawData: bytesOf(BigInt64Array.from(values, BigInt)),
  });

interface Parts {
  readonly nodes: readonly onnx.NodeProto[];
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly initialisers?: readonly onnx.TensorProto[];
}

function modelOf({ nodes, inputs, outputs, initialisers = [] }: Parts) {
  const model = create(onnx.ModelProtoSchema, {
    irVersion: 8n,
    opsetImport: [{ domain: "", version: 17n }],
    graph: {
      name: "test",
      node: [...nodes],
      input: inputs.map((name) => tensorInfo(name, INT64, vector)),
      output: outputs.map((name) => tensorInfo(name, INT64, vector)),
      initializer: [...initialisers],
    },
  });
  return Object.assign(model, { graph: model.graph! });
}

/** Ops by stage, each with what it makes. */
const shown = ({ stages }: OnnxCut) =>
  stages.map(({ nodes, inputs, outputs, lookups }) => ({
    nodes: nodes.map(({ opType, output }) => `${output[0]}=${opType}`).join(" "),
    inputs: inputs.filter((name) => !name.startsWith("shardserve/")).join(" "),
    outputs: outputs.join(" "),
    lookups: lookups.map(({ table, ids }) => `${table}[${ids}]`).join(" "),
  }));

describe("cutting an ONNX model at its lookups", () => {
  it("computes nothing before a lookup of ids that are inputs", () => {
    const nodes = [node("Gather", ["table", "ids"], "rows"), node("Add", ["rows", "x"], "sum")];
    const cut = cutModel(modelOf({ nodes, inputs: ["ids", "x", "table"], outputs: ["sum"] }), ["table"]);
    assert.deepEqual(shown(cut), [
      { nodes: "", inputs: "", outputs: "", lookups: "table[ids]" },
      { nodes: "rows=Gather sum=Add", inputs: "x", outputs: "sum", lookups: "" },
    ]);
    assert.deepEqual(
      cut.inputs.map(({ name }) => name),
      ["ids", "x"],
    );
  });

  it("computes before each lookup just what its ids need, and every node once", () => {
    const nodes = [
      node("Abs", ["x"], "big"), // not needed before the end
      node("Neg", ["x"], "ids0"),
      node("Gather", ["a", "ids0"], "hop"),
      node("Add", ["hop", "ids0"], "ids1"),
      node("Gather", ["b", "ids1"], "rows"),
      node("Add", ["rows", "big"], "sum"),
      node("Gather", ["a", "unused"], "dead"),
      node("Identity", ["ids0"], "out0"),
    ];
    const model = modelOf({ nodes, inputs: ["x", "unused", "a", "b"], outputs: ["sum", "out0", "hop"] });
    assert.deepEqual(shown(cutModel(model, ["a", "b"])), [
      { nodes: "ids0=Neg", inputs: "x", outputs: "ids0", lookups: "a[ids0]" },
      { nodes: "hop=Gather ids1=Add", inputs: "ids0", outputs: "hop ids1", lookups: "b[ids1]" },
      { nodes: "big=Abs rows=Gather sum=Add out0=Identity", inputs: "x ids0", outputs: "sum out0", lookups: "" },
    ]);
  });

  it("refuses graphs that are not what the manifest says", () => {
    const refused = (parts: Parts, pattern: RegExp) =>
      assert.throws(
        () => cutModel(modelOf(parts), ["table"]),
        (error) => isServingError(error, "GRAPH_INVALID") && pattern.test(error.message),
      );
    const gather = node("Gather", ["table", "ids"], "rows");
    refused({ nodes: [gather], inputs: ["ids"], outputs: ["rows"] }, /"table", which is not an input/);
    const twice = [gather, node("Add", ["table", "rows"], "sum", { name: "tied" })];
    refused({ nodes: twice, inputs: ["ids", "table"], outputs: ["sum"] }, /read whole by Add "tied"/);
    const unsorted = [node("Gather", ["table", "late"], "rows"), node("Neg", ["ids"], "late")];
    refused({ nodes: unsorted, inputs: ["ids", "table"], outputs: ["rows"] }, /"late" is read before it is made/);
  });

  it("says of every table what reads it whole", () => {
    const nodes = [
      node("Identity", ["renamed"], "again"),
      node("Gather", ["again", "ids"], "a"),
      node("Gather", ["columns", "ids"], "b", { axis: 1 }),
      node("Gather", ["fixed", "constant"], "c"),
      node("Gather", ["tied", "ids"], "d"),
      node("Mul", ["tied", "ids"], "e", { name: "logits" }),
      node("Gather", ["given", "ids"], "f"),
      node("Identity", ["given"], "g"),
    ];
    const initialisers = ["renamed", "columns", "fixed", "constant", "tied", "given"].map((name) =>
      initialiser(name, [1, 2]),
    );
    const outputs = ["a", "b", "c", "d", "e", "f", "g"];
    const { tables, whole } = findOnnxTables(modelOf({ nodes, inputs: ["ids"], outputs, initialisers }).graph);
    assert.deepEqual(Object.fromEntries(tables.map(({ name, shardable }) => [name, shardable])), {
      renamed: true,
      tied: 'read whole by Mul "logits"',
      given: 'the output "g"',
    });
    assert.equal(whole.get("columns"), 'read whole by Gather "b"');
    assert.equal(whole.get("fixed"), 'gathered at constant ids by "c"');
  });

  it("gives what the whole model gives, on random graphs", async () => {
    const TABLES = [
      { name: "t0", rows: [3, -1, 4, 1, -5] },
      { name: "t1", rows: [2, 7, -1, 8, 2, -8, 1] },
    ];
    const size = new Map(TABLES.map(({ name, rows }) => [name, rows.length]));
    const op = fc.record({
      kind: fc.constantFrom("Add", "Sub", "Mul", "Neg", "t0", "t1"),
      a: fc.nat(),
      b: fc.nat(),
    });
    const graphs = fc.tuple(
      fc.array(op, { minLength: 1, maxLength: 12 }),
      fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
    );
    const x = BigInt64Array.of(0n, -3n, 5n);
    await fc.assert(
      fc.asyncProperty(graphs, async ([ops, wanted]) => {
        const nodes: onnx.NodeProto[] = [];
        const values = ["x"];
        for (const { kind, a, b } of ops) {
          const name = `v${values.length}`;
          const pick = (at: number) => values[at % values.length]!;
          if (size.has(kind)) {
            nodes.push(node("Mod", [pick(a), `${kind}_size`], `${name}_ids`)); // in [0, rows)
            nodes.push(node("Gather", [kind, `${name}_ids`], name));
          } else nodes.push(node(kind, kind === "Neg" ? [pick(a)] : [pick(a), pick(b)], name));
          values.push(name);
        }
        const outputs = [...new Set(wanted.map((at) => values[1 + (at % (values.length - 1))]!))];
        const sizes = TABLES.map(({ name, rows }) => initialiser(`${name}_size`, [rows.length]));
        const tables = TABLES.map(({ name, rows }) => initialiser(name, rows));
        const whole = modelOf({ nodes, inputs: ["x"], outputs, initialisers: [...sizes, ...tables] });
        const cut = modelOf({ nodes, inputs: ["x", ...size.keys()], outputs, initialisers: sizes });
        const expected = await runWhole(whole, x);
        assert.deepEqual(await runStages(cutModel(cut, [...size.keys()]), x, TABLES), expected);
      }),
      { numRuns: 60 },
    );
  });

  it("meets damaged models with a ServingError", async function () {
    this.timeout(FUZZ_MS * 4 + 60_000);
    const seed = new Uint8Array(await readFile(join(REPO_DIR, "test/fixtures/onnx/hops/1/model.onnx")));
    const change = fc.tuple(fc.nat(seed.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), fc.nat(seed.length), (changes, cutOff) => {
        const bytes = seed.slice(0, cutOff % 4 === 0 ? cutOff : seed.length);
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        try {
          const model = decodeOnnxModel(bytes, "fuzz");
          const { tables } = findOnnxTables(model.graph);
          const names = new Set(tables.map(({ name }) => name));
          model.graph.input.push(...tables.map(({ name }) => tensorInfo(name, INT64, undefined)));
          model.graph.initializer = model.graph.initializer.filter(({ name }) => !names.has(name));
          const cut = cutModel(model, [...names]);
          assert.ok(cut.stages.length > 0);
        } catch (error) {
          if (!(error instanceof ServingError)) throw error;
        }
      }),
      { numRuns: 1_000_000, interruptAfterTimeLimit: FUZZ_MS, markInterruptAsFailure: false },
    );
  });
});

async function runWhole(model: onnx.ModelProto, x: BigInt64Array): Promise<Record<string, BigInt64Array>> {
  using session = await loadOrt().createSession(toBinary(onnx.ModelProtoSchema, model));
  const feed = OrtValue.fromTensor({ dtype: "int64", shape: [x.length], data: x });
  const results = await session.run([feed]);
  return Object.fromEntries(session.outputs.map(({ name }, i) => [name, results[i]!.toTensor().data as BigInt64Array]));
}

/** The slow twin of an executor: rows are the whole table, slots are the ids. */
async function runStages(
  cut: OnnxCut,
  x: BigInt64Array,
  tables: readonly { readonly name: string; readonly rows: readonly number[] }[],
): Promise<Record<string, BigInt64Array>> {
  const types = new Map<string, OnnxValueType>();
  const values = new Map<string, BigInt64Array | Int32Array>([["x", x]]);
  for (const stage of cut.stages) {
    if (stage.outputs.length > 0) {
      using session = await loadOrt().createSession(encodeStage(cut, stage, types));
      const feeds = session.inputs.map(({ name }) => {
        const data = values.get(name)!;
        const dtype = data instanceof Int32Array ? "int32" : "int64";
        return OrtValue.fromTensor({ dtype, shape: [data.length], data: data as never });
      });
      for (const [i, result] of (await session.run(feeds)).entries()) {
        const { name, dtype, shape, symbols } = session.outputs[i]!;
        types.set(name, { dtype: dtype!, shape, symbols });
        values.set(name, result.toTensor().data as BigInt64Array);
      }
    }
    for (const { table, ids, rows, slots } of stage.lookups) {
      values.set(rows, BigInt64Array.from(tables.find(({ name }) => name === table)!.rows, BigInt));
      values.set(slots, Int32Array.from(values.get(ids)!, Number));
      types.set(rows, { dtype: "int64", shape: [-1], symbols: [] });
      types.set(slots, { dtype: "int32", shape: [-1], symbols: [] });
    }
  }
  return Object.fromEntries(cut.graph.output.map(({ name }) => [name, values.get(name) as BigInt64Array]));
}
