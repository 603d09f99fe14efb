import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  AttrValueSchema,
  create,
  fromBinary,
  type MetaGraphDef,
  MetaGraphDefSchema,
  SavedModelSchema,
  toBinary,
} from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { importModel, planSignature, plansWithin } from "@shardserve/graph";
import { hostKernels } from "@shardserve/host-ops";
import { deviceSupports, lowerSegment } from "@shardserve/onnx";
import { REPO_DIR } from "@shardserve/testkit";
import fc from "fast-check";

/** Graphs that nobody would serve: each ends in a plan or a clear error, soon and without taking all memory. */

const FUZZ_MS = Number(process.env["FUZZ_MS"] ?? 400);
const FLOAT = 1;
const INT32 = 3;

interface Node {
  readonly name: string;
  readonly op: string;
  readonly input?: readonly string[];
  readonly attr?: Readonly<Record<string, unknown>>;
}

const type = (value: number) => ({ value: { case: "type" as const, value } });
const func = (name: string) => ({ value: { case: "func" as const, value: { name } } });
const types = (...values: number[]) => ({ value: { case: "list" as const, value: { type: values } } });
const shape = (...dims: number[]) => ({
  value: { case: "shape" as const, value: { dim: dims.map((size) => ({ size: BigInt(size) })) } },
});
const ints = (...values: number[]) => ({
  value: {
    case: "tensor" as const,
    value: toTensorProto(INT32, [values.length], Int32Array.from(values)),
  },
});

function toTensorProto(dtype: number, dims: readonly number[], content: Int32Array): Uint8Array {
  // TensorProto stays bytes in our protos: dtype = 1, tensor_shape = 2 { dim = 2 { size = 1 } }, tensor_content = 4.
  const dim = dims.flatMap((size) => {
    const inner = [8, ...varint(size)];
    return [18, inner.length, ...inner];
  });
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  return Uint8Array.from([8, dtype, 18, ...varint(dim.length), ...dim, 34, ...varint(bytes.length), ...bytes]);
}

function varint(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
  return [...out, rest];
}

const X: Node = { name: "x", op: "Placeholder", attr: { dtype: type(FLOAT), shape: shape(-1, 4) } };

function metaGraph(nodes: readonly Node[], output: string, functions: readonly object[] = []): MetaGraphDef {
  return create(MetaGraphDefSchema, {
    graphDef: { node: nodes as never, library: { function: functions as never } },
    signatureDef: {
      s: {
        inputs: { x: { encoding: { case: "name", value: "x:0" }, dtype: FLOAT } },
        outputs: { y: { encoding: { case: "name", value: output }, dtype: FLOAT } },
      },
    },
  });
}

function functionDef(name: string, nodes: readonly Node[], result: string): object {
  return {
    signature: { name, inputArg: [{ name: "a", type: FLOAT }], outputArg: [{ name: "r", type: FLOAT }] },
    nodeDef: nodes,
    ret: { r: result },
  };
}

const call = (name: string, to: string, input: string): Node => ({
  name,
  op: "PartitionedCall",
  input: [input],
  attr: { f: func(to), Tin: types(FLOAT), Tout: types(FLOAT) },
});

/** Plans a signature and lowers what it sends to the device. */
function plan(graph: MetaGraphDef): void {
  const model = importModel(graph, { bindings: new Map(), entries: new Map() });
  for (const name of [...model.signatures.keys(), ...model.broken.keys()]) {
    const whole = planSignature(model, name, { kernels: hostKernels, device: { supports: deviceSupports } });
    for (const { steps, infos } of plansWithin(whole)) {
      for (const step of steps) if (step.kind === "device") lowerSegment(step, infos);
    }
  }
}

function refuses(graph: MetaGraphDef, message: RegExp): void {
  assert.throws(
    () => plan(graph),
    (error) => error instanceof ServingError && error.status !== "INTERNAL" && message.test(error.message),
  );
}

describe("hostile graphs", function () {
  this.timeout(180_000);

  it("a chain of 100 000 nodes is planned", () => {
    const nodes: Node[] = [X];
    for (let i = 0; i < 100_000; i++) {
      const before = i === 0 ? "x" : `n${i - 1}`;
      nodes.push({ name: `n${i}`, op: "Neg", input: [before], attr: { T: type(FLOAT) } });
    }
    plan(metaGraph(nodes, "n99999:0"));
  });

  it("100 000 functions that nothing calls cost little", () => {
    const functions = Array.from({ length: 100_000 }, (_, i) =>
      functionDef(`f${i}`, [{ name: "n", op: "Neg", input: ["a"], attr: { T: type(FLOAT) } }], "n:y:0"),
    );
    plan(metaGraph([X, call("c", "f7", "x")], "c:0", functions));
  });

  it("functions that call themselves are refused", () => {
    const functions = [
      functionDef("f", [call("c", "g", "a")], "c:output:0"),
      functionDef("g", [call("c", "f", "a")], "c:output:0"),
    ];
    refuses(metaGraph([X, call("c", "f", "x")], "c:0", functions), /recursi|deep|itself|nodes/);
  });

  it("functions that double forty times over are refused before they fill memory", () => {
    const functions = Array.from({ length: 40 }, (_, i) =>
      functionDef(
        `f${i}`,
        i === 39
          ? [{ name: "d", op: "Neg", input: ["a"], attr: { T: type(FLOAT) } }]
          : [call("c", `f${i + 1}`, "a"), call("d", `f${i + 1}`, "c:output:0")],
        i === 39 ? "d:y:0" : "d:output:0",
      ),
    );
    refuses(metaGraph([X, call("c", "f0", "x")], "c:0", functions), /nodes|large/);
  });

  it("a loop whose body is a loop over itself is refused", () => {
    const loop: Node = {
      name: "w",
      op: "While",
      input: ["a"],
      attr: { cond: func("c"), body: func("b"), T: types(FLOAT) },
    };
    const functions = [
      functionDef("b", [loop], "w:output:0"),
      {
        signature: { name: "c", inputArg: [{ name: "a", type: FLOAT }], outputArg: [{ name: "r", type: 10 }] },
        nodeDef: [{ name: "n", op: "IsNan", input: ["a"], attr: { T: type(FLOAT) } }],
        ret: { r: "n:y:0" },
      },
    ];
    refuses(metaGraph([X, { ...loop, input: ["x"] }], "w:0", functions), /recursion/);
  });

  it("cycles, missing nodes, missing functions and wrong attributes are told", () => {
    const neg = (name: string, input: string): Node => ({ name, op: "Neg", input: [input], attr: { T: type(FLOAT) } });
    refuses(metaGraph([X, neg("a", "b"), neg("b", "a")], "b:0"), /cycle/);
    refuses(metaGraph([X, neg("a", "gone")], "a:0"), /gone/);
    refuses(metaGraph([X, call("c", "gone", "x")], "c:0"), /gone/);
    refuses(
      metaGraph([X, { name: "p", op: "Pack", input: ["x"], attr: { T: type(FLOAT), N: shape(2) } }], "p:0"),
      /"N".*is not/,
    );
  });

  it("absurd shapes are not computed while compiling", () => {
    const dims: Node = { name: "dims", op: "Const", attr: { dtype: type(INT32), value: ints(2147483647, 2147483647) } };
    const value: Node = { name: "one", op: "Const", attr: { dtype: type(INT32), value: ints(1) } };
    const zero: Node = { name: "zero", op: "Const", attr: { dtype: type(INT32), value: ints(0) } };
    const scalar: Node = {
      name: "v",
      op: "Reshape",
      input: ["one", "none"],
      attr: { T: type(INT32), Tshape: type(INT32) },
    };
    const none: Node = { name: "none", op: "Const", attr: { dtype: type(INT32), value: ints() } };
    const fill: Node = {
      name: "f",
      op: "Fill",
      input: ["dims", "v"],
      attr: { T: type(INT32), index_type: type(INT32) },
    };
    const cast: Node = { name: "y", op: "Cast", input: ["f"], attr: { SrcT: type(INT32), DstT: type(FLOAT) } };
    plan(metaGraph([X, dims, value, zero, none, scalar, fill, cast], "y:0"));
  });

  it("changed graphs of real models give a plan or a ServingError", () => {
    const seeds = ["fixtures/models/wide-deep/1", "fixtures/models/dlrm/1"]
      .map((path) => join(REPO_DIR, "test", path, "saved_model.pb"))
      .concat(
        ["recurrent-layers", "old-control", "lists"].map((name) =>
          join(REPO_DIR, "packages/engine/test/testdata/control-flow", name, "saved_model.pb"),
        ),
      )
      .filter((path) => existsSync(path))
      .map((path) => toBinary(MetaGraphDefSchema, fromBinary(SavedModelSchema, readFileSync(path)).metaGraphs[0]!));
    const change = fc.record({
      kind: fc.constantFrom("rewire", "op", "attr", "drop", "repeat"),
      at: fc.nat(),
      other: fc.nat(),
      dtype: fc.integer({ min: 0, max: 24 }),
    });
    fc.assert(
      fc.property(fc.nat(), fc.array(change, { minLength: 1, maxLength: 5 }), (which, changes) => {
        const graph = fromBinary(MetaGraphDefSchema, seeds[which % seeds.length]!);
        const functions = graph.graphDef!.library?.function ?? [];
        for (const { kind, at, other, dtype } of changes) {
          const bodies = [graph.graphDef!.node, ...functions.map(({ nodeDef }) => nodeDef)].filter(
            (list) => list.length > 0,
          );
          const nodes = bodies[other % bodies.length]!;
          const node = nodes[at % nodes.length]!;
          const donor = nodes[other % nodes.length]!;
          if (kind === "rewire" && node.input.length > 0) node.input[other % node.input.length] = donor.name;
          else if (kind === "op") node.op = donor.op;
          else if (kind === "drop") nodes.splice(at % nodes.length, 1);
          else if (kind === "repeat") nodes.push({ ...donor, name: node.name });
          else {
            const name = Object.keys(node.attr)[other % Math.max(1, Object.keys(node.attr).length)];
            if (name !== undefined) node.attr[name] = create(AttrValueSchema, type(dtype) as never);
          }
        }
        try {
          plan(graph);
        } catch (error) {
          if (!(error instanceof ServingError)) throw error;
        }
      }),
      { numRuns: 1_000_000, interruptAfterTimeLimit: FUZZ_MS, markInterruptAsFailure: false },
    );
  });
});
