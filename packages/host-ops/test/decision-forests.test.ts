import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { ServingError } from "@shardserve/core";
import { Attrs, type AttrValue, type HostState, type HostValue } from "@shardserve/graph";
import { strings, type Tensor, tensor } from "@shardserve/tensor";
import { REPO_DIR } from "@shardserve/testkit";
import fc from "fast-check";
import { NodeReader } from "../src/forests/forest-node.js";
import { hostKernels } from "../src/index.js";

/** Files of one model by their names without the model's prefix, as test/fixtures/make_strangers.py made them. */
type Files = ReadonlyMap<string, Uint8Array>;

const ASSETS = join(REPO_DIR, "test/fixtures/strangers/decision-forests/1/assets");
const MODELS: ReadonlyMap<string, Files> = readModels();

function readModels(): Map<string, Files> {
  const models = new Map<string, Map<string, Uint8Array>>();
  for (const file of readdirSync(ASSETS).sort()) {
    const [, prefix, name] = /^([0-9a-f]{16})?(.+)$/.exec(file)!;
    const files = models.get(prefix ?? "") ?? new Map<string, Uint8Array>();
    models.set(prefix ?? "", files.set(name!, new Uint8Array(readFileSync(join(ASSETS, file)))));
  }
  return models;
}

const NODES = "nodes-00000-of-00001";
const HANDLE: HostValue = { kind: "other", key: "model" };

async function run(op: string, inputs: HostValue[], attrs: Record<string, AttrValue>, state: HostState) {
  const node = { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, attrs) };
  return hostKernels.get(op)!({ node, inputs, state });
}

async function load(files: Files): Promise<HostState> {
  const readFile = async (path: string): Promise<Uint8Array> => {
    const bytes = files.get(path.replace("dir/p_", ""));
    if (bytes) return bytes;
    throw new ServingError("SAVED_MODEL_INVALID", `asset ${path} cannot be read`);
  };
  const state: HostState = { resources: new Map(), variables: new Map(), readFile };
  await run("SimpleMLCreateModelResource", [], { shared_name: "model" }, state);
  await run("SimpleMLLoadModelFromPathWithHandle", [HANDLE, strings([], ["dir"])], { file_prefix: "p_" }, state);
  return state;
}

/** The columns of each input that a model takes, as its errors tell them. */
async function predict(state: HostState, rows = 3): Promise<Tensor> {
  const counts = [0, 0, 0];
  let sets = 0;
  let outputs = 1;
  for (;;) {
    const splits = Array.from({ length: rows + 1 }, (_, i) => BigInt(i * sets));
    const inner = Array.from({ length: rows * sets + 1 }, (_, i) => BigInt(Math.min(i, 2)));
    const inputs = [
      tensor("float32", [rows, counts[0]!], new Float32Array(rows * counts[0]!).fill(0.5)),
      tensor("float32", [rows, counts[1]!], new Float32Array(rows * counts[1]!).fill(Number.NaN)),
      tensor("int32", [rows, counts[2]!], new Int32Array(rows * counts[2]!).fill(2)),
      tensor("int32", [2], Int32Array.of(1, -1)),
      tensor("int64", [inner.length], BigInt64Array.from(inner)),
      tensor("int64", [splits.length], BigInt64Array.from(splits)),
      HANDLE,
    ];
    try {
      const [out] = await run("SimpleMLInferenceOpWithHandle", inputs, { dense_output_dim: outputs }, state);
      return out as Tensor;
    } catch (error) {
      const { message } = error as Error;
      if (/dense_output_dim/.test(message)) outputs = Number(/dimension=(\d+)/.exec(message)![1]);
      else if (/boolean_features bank/.test(message)) counts[1]!++;
      else if (/categorical_int_features bank/.test(message)) counts[2]!++;
      else if (/numerical_features bank/.test(message)) counts[0]!++;
      else if (/row_splits_dim_2/.test(message)) sets++;
      else throw error;
      assert(counts.every((count) => count < 99) && sets < 99 && outputs < 70_000, message);
    }
  }
}

function records(bytes: Uint8Array): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const found: Uint8Array[] = [];
  for (let at = 8; at < bytes.length; ) {
    const length = view.getUint32(at, true);
    found.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return found;
}

function blobs(nodes: readonly Uint8Array[], header = [0x42, 0x53, 0, 0, 0, 0, 0, 0]): Uint8Array {
  const framed = nodes.flatMap((node) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(node.length);
    return [length, node];
  });
  return Buffer.concat([Uint8Array.from(header), ...framed]);
}

function tfRecords(nodes: readonly Uint8Array[]): Uint8Array {
  const framed = nodes.flatMap((node) => {
    const before = Buffer.alloc(12);
    before.writeUInt32LE(node.length);
    return [before, node, Buffer.alloc(4)];
  });
  return Buffer.concat(framed);
}

const changed = (files: Files, name: string, bytes: Uint8Array): Files => new Map(files).set(name, bytes);
/** A random forest that votes; its files have no prefix. */
const FOREST = MODELS.get("")!;

describe("decision forests", () => {
  it("are read from every framing of records", async () => {
    const files = FOREST;
    const nodes = records(files.get(NODES)!);
    const expected = (await predict(await load(files))).data;
    const packed = Buffer.concat([Uint8Array.of(0x42, 0x53, 1, 0, 1, 0, 0, 0), gzipSync(blobs(nodes).subarray(8))]);
    const header = files.get("random_forest_header.pb")!;
    const text = Buffer.from(header).toString("latin1");
    assert.equal(text.split("BLOB_SEQUENCE").length, 2);
    // Another value of the same field, in a field behind it.
    const recordIo = Buffer.concat([header, Uint8Array.of((7 << 3) | 2, 12), Buffer.from("TFE_RECORDIO")]);
    const framings: readonly Files[] = [
      changed(files, NODES, blobs(nodes)),
      changed(files, NODES, packed),
      changed(changed(files, NODES, tfRecords(nodes)), "random_forest_header.pb", recordIo),
    ];
    for (const framing of framings) assert.deepEqual((await predict(await load(framing))).data, expected);
  });

  it("are read from several files", async () => {
    const files = FOREST;
    const nodes = records(files.get(NODES)!);
    const expected = (await predict(await load(files))).data;
    const header = Buffer.concat([files.get("random_forest_header.pb")!, Uint8Array.of(1 << 3, 2)]);
    const parts = new Map(files)
      .set("random_forest_header.pb", header)
      .set("nodes-00000-of-00002", blobs(nodes.slice(0, 5)))
      .set("nodes-00001-of-00002", blobs(nodes.slice(5)));
    assert.deepEqual((await predict(await load(parts))).data, expected);
  });

  it("name the file and the node that is damaged, wherever it ends", async () => {
    const files = FOREST;
    const whole = files.get(NODES)!;
    const nodes = records(whole);
    for (let end = 0; end < whole.length; end += 7) {
      await assert.rejects(load(changed(files, NODES, whole.subarray(0, end))), {
        code: "SAVED_MODEL_INVALID",
        message: /p_nodes-00000-of-00001: /,
      });
    }
    const refused: readonly [string, readonly Uint8Array[], RegExp][] = [
      ["a node too few", nodes.slice(0, -1), /ends inside of tree/],
      ["a tree too many", [...nodes, ...nodes], /node \d+: it is behind the last/],
      ["no nodes", [], /trees have 0 nodes/],
      ["a leaf without a class", [new Uint8Array(0), ...nodes], /node 0: the leaf has no class/],
      // condition {attribute: 99, higher {}}
      ["an unknown column", [Uint8Array.of(0x1a, 6, 0x10, 99, 0x1a, 2, 0x12, 0), ...nodes], /node 0: column 99/],
      ["an unknown condition", [Uint8Array.of(0x1a, 6, 0x10, 1, 0x1a, 2, 0x42, 0), ...nodes], /node 0: .* kind 8/],
      ["no message", [Uint8Array.of(0x1a, 60), ...nodes], /node 0: /],
    ];
    for (const [what, changedNodes, message] of refused) {
      const attempt = load(changed(files, NODES, blobs(changedNodes)));
      await assert.rejects(attempt, { code: "SAVED_MODEL_INVALID", message }, what);
    }
  });

  it("make an answer or a clear error of damaged files", async () => {
    const damage = fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 6,
    });
    const cut = fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { freq: 3 });
    const picks = fc.tuple(fc.constantFrom(...MODELS.values()), fc.nat());
    await fc.assert(
      fc.asyncProperty(picks, damage, cut, async ([model, pick], flips, end) => {
        const names = [...model.keys()].filter((name) => model.get(name)!.length > 0);
        const name = names[pick % names.length]!;
        const whole = model.get(name)!;
        const bytes = Uint8Array.from(whole.subarray(0, end === null ? whole.length : Math.floor(end * whole.length)));
        for (const [at, byte] of flips) bytes[Math.floor(at * bytes.length)] = byte;
        try {
          await predict(await load(changed(model, name, bytes)));
        } catch (error) {
          assert(error instanceof ServingError, (error as Error).stack);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("of the fixture ask every kind of question", () => {
    const conditions = new Set<number>();
    for (const bytes of [...MODELS.values()].map((files) => files.get(NODES)!)) {
      const reader = new NodeReader(bytes);
      for (const node of records(bytes)) {
        reader.read(node.byteOffset - bytes.byteOffset, node.byteOffset - bytes.byteOffset + node.length);
        if (reader.hasCondition) conditions.add(reader.condition);
      }
    }
    assert.deepEqual(
      [...conditions].sort((a, b) => a - b),
      [1, 2, 3, 4, 5, 6, 7],
    );
  });

  it("refuse kinds of models that have no kernel, by name", async () => {
    const files = FOREST;
    const header = files.get("header.pb")!;
    const append = (...bytes: number[]): Files =>
      changed(files, "header.pb", Buffer.concat([header, Uint8Array.from(bytes)]));
    const named = append((1 << 3) | 2, 6, ...Buffer.from("LINEAR"));
    await assert.rejects(load(named), { code: "UNIMPLEMENTED", message: /kind "LINEAR"/ });
    await assert.rejects(load(append(2 << 3, 4)), { code: "UNIMPLEMENTED", message: /CATEGORICAL_UPLIFT/ });
    await assert.rejects(load(append(0x82, 1, 0)), { code: "UNIMPLEMENTED", message: /postprocessor/ });
    await assert.rejects(load(append(5 << 3, 99)), { code: "SAVED_MODEL_INVALID", message: /column 99/ });
    await assert.rejects(load(new Map([...files].filter(([name]) => name !== NODES))), { code: "SAVED_MODEL_INVALID" });
  });

  it("refuse inputs that do not fit together", async () => {
    // condition {attribute: 0, contains {elements: 1, 3}}, and two leaves of the classes 1 and 2
    const nodes = [
      [0x1a, 10, 0x10, 0, 0x1a, 6, 0x22, 4, 0x0a, 2, 1, 3],
      [0x0a, 2, 8, 1],
      [0x0a, 2, 8, 2],
    ];
    const column = (type: number, values: number): number[] => [0x0a, 6, 8, type, 0x32, 2, 0x10, values];
    const state = await load(
      new Map([
        ["header.pb", Buffer.from([0x0a, 13, ...Buffer.from("RANDOM_FOREST"), 16, 1, 24, 1, 40, 0])],
        ["data_spec.pb", Buffer.from([...column(5, 4), ...column(4, 3)])],
        ["random_forest_header.pb", Buffer.from([8, 1, 16, 1, 0x3a, 13, ...Buffer.from("BLOB_SEQUENCE")])],
        [NODES, blobs(nodes.map((node) => Uint8Array.from(node)))],
      ]),
    );
    const none = tensor("float32", [0, 0], new Float32Array(0));
    const int64 = (...values: number[]): Tensor =>
      tensor("int64", [values.length], BigInt64Array.from(values.map(BigInt)));
    const infer = async (inner: Tensor, outer: Tensor, numbers = none, outputs = 2): Promise<HostValue[]> => {
      const sets = tensor("int32", [4], Int32Array.of(2, 3, 9, -1));
      const inputs = [numbers, none, tensor("int32", [0, 0], new Int32Array(0)), sets, inner, outer, HANDLE];
      return [...(await run("SimpleMLInferenceOpWithHandle", inputs, { dense_output_dim: outputs }, state))];
    };
    const [shares] = (await infer(int64(0, 2, 2, 3, 4), int64(0, 1, 2, 3, 4))) as Tensor[];
    assert.deepEqual([...(shares!.data as Float32Array)], [0, 1, 1, 0, 1, 0, 1, 0]);
    const refused: readonly [Promise<unknown>, RegExp][] = [
      [infer(int64(0, 2, 5), int64(0, 1, 2)), /from 2 to 5 in 4 values/],
      [infer(int64(0, 2, 1), int64(0, 1, 2)), /from 2 to 1/],
      [infer(int64(-1, 2, 3), int64(0, 1, 2)), /from -1 to 2/],
      [infer(int64(0, 2), int64(0, 1, 2)), /row_splits_dim_1/],
      [infer(int64(0, 2, 3), int64(0, 1, 1)), /row_splits_dim_2/],
      [infer(int64(0, 2, 3), int64(0, 1, 2), tensor("float32", [3, 0], new Float32Array(0))), /inconsistent/],
      [
        infer(int64(0, 2, 3), int64(0, 1, 2), tensor("float32", [2, 1], new Float32Array(2))),
        /numerical_features bank/,
      ],
      [infer(int64(0, 2, 3), int64(0, 1, 2), none, 3), /dense_output_dim/],
    ];
    for (const [attempt, message] of refused) await assert.rejects(attempt, { code: "INVALID_ARGUMENT", message });
  });

  it("let others run while they are read", async () => {
    const files = FOREST;
    const nodes = records(files.get(NODES)!);
    const copies = Math.ceil(20_000 / nodes.length);
    const header = Buffer.concat([files.get("random_forest_header.pb")!, Uint8Array.of(2 << 3, ...varint(5 * copies))]);
    const many = changed(files, NODES, blobs(Array.from({ length: copies }, () => nodes).flat()));
    let turns = 0;
    let isDone = false;
    const count = (): void => {
      turns++;
      if (!isDone) setImmediate(count);
    };
    setImmediate(count);
    await load(changed(many, "random_forest_header.pb", header));
    isDone = true;
    assert(turns >= 8, `${turns} turns`);
  });
});

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >> 7)];
}
