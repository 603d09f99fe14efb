import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { composedOps, describedOps } from "@shardserve/graph";
import { hostOps } from "@shardserve/host-ops";
import { lowerings } from "@shardserve/onnx";
import { readSavedModel, selectMetaGraph } from "@shardserve/savedmodel";
import { toNumbers } from "@shardserve/tensor";
import { readGolden, REPO_DIR } from "@shardserve/testkit";
import { holdSection } from "./support/coverage-doc.js";
import { OpCoverage } from "./support/op-coverage.js";
import { type OpCase, readOpCases } from "./support/op-cases.js";
import { inferenceError, onDevice, onHost, type Verdict } from "./support/op-replay.js";

/**
 * Every op that is implemented, in every dtype that TensorFlow's CPU kernel takes, on the host and on the device: the
 * hand-written goldens of both sides and those that scripts/make_op_conformance.py derived from them. Where the compiler
 * would send a node must give TensorFlow's answer; shape inference must fit what came out.
 */

/** Where TensorFlow's own answer is not to be had, or is given up knowingly: op -> the cases, and why. */
const EXCEPTIONS: Readonly<Record<string, (item: OpCase) => boolean>> = {
  // TensorFlow 2.21 answers 0 for every integer.
  Round: ({ inputs }) => /int/.test(inputs[0]!.dtype),
  // TensorFlow 2.21 answers NaN for infinities in float64.
  Erf: ({ inputs }) => inputs[0]!.dtype === "float64",
  // Far out the phase has no digit left in float32.
  FresnelSin: ({ inputs }) => inputs[0]!.dtype === "float32" && (inputs[0]!.data as Float32Array).includes(3e4),
  // Shapes beyond 2^53.
  BroadcastArgs: ({ inputs }) => inputs[0]!.dtype === "int64" && inputs.some(({ data }) => hasHuge(data)),
  // Colours of NaN and infinity, and factors of matrices that have none: TensorFlow's answer is what its buffer held.
  ...Object.fromEntries(["RGBToHSV"].map((op) => [op, hasNaN])),
  Cholesky: ({ inputs, outputs }) => outputs !== undefined && hasNaN({ inputs: outputs }) && !hasNaN({ inputs }),
  // TensorFlow's cubic weights are float32, also where the sums are not.
  ResizeBicubicGrad: ({ inputs }) => inputs[1]!.dtype === "float64",
  // TensorFlow multiplies what is not a number with the zeros around the image too.
  DepthwiseConv2dNativeBackpropInput: hasNaN,
  // Kernels for pairs of dtypes that no graph has: the sum of one dtype with a threshold of another.
  SparseAdd: ({ inputs }) => inputs[6]?.dtype !== inputs[1]?.dtype && !inputs[1]?.dtype.startsWith("complex"),
};

/** Known differences of ONNX Runtime: NaN among values that are compared, sums of squares that leave float16, infinities beside others. */
const DEVICE_EXCEPTIONS: Readonly<Record<string, (item: OpCase) => boolean>> = {
  ...Object.fromEntries(["Max", "Min", "MaxPool", "MaxPool3D"].map((op) => [op, hasNaN])),
  // The order is what each comparison of TensorFlow's heap or sort happens to say; rows of NaN alone keep theirs.
  TopKV2: ({ inputs }) => hasNaN({ inputs }) && toNumbers(inputs[0]!).some((x) => !Number.isNaN(x)),
  // Sums that leave float16 on the way.
  Conv3DBackpropInputV2: ({ inputs }) => inputs[1]!.dtype === "float16" && hasNaN({ inputs }),
  LRN: ({ inputs }) => inputs[0]!.dtype === "float16",
  // Its weighted sum makes an infinity of what TensorFlow's weighted difference makes NaN (docs/decisions/078).
  ResizeBilinear: hasInfinity,
};

/** Products whose sizes are ambiguous without shapes: the guess is checked, so they fail instead of answering wrongly. */
const GUESSES = new Set(["Einsum"]);

/** Outputs behind these are for gradients, or vectors that have no sign (packages/host-ops/test/matrix-factors.property.test.ts). */
const PROMISED: Readonly<Record<string, readonly number[]>> = {
  FusedBatchNorm: [0, 1, 2],
  FusedBatchNormV2: [0, 1, 2],
  FusedBatchNormV3: [0, 1, 2],
  FusedBatchNormGrad: [0, 1, 2],
  FusedBatchNormGradV2: [0, 1, 2],
  FusedBatchNormGradV3: [0, 1, 2],
  Svd: [0],
  BatchSvd: [0],
  SelfAdjointEigV2: [0],
  BatchSelfAdjointEigV2: [0],
  Eig: [0],
};

/** 64-bit integers that some host kernels refuse when a request brings them. */
const REFUSED_AT_RUN = /beyond 2\^53 (is|are) not supported/;

/** Ops without cases: op -> why that is enough. */
const WITHOUT_CASES: Readonly<Record<string, string>> = {
  Const: "a value, no computation",
  HostConst: "a value, no computation",
  NoOp: "no computation",
  Timestamp: "the time of day; no two answers are equal",
  NonDeterministicInts: "no two answers are equal",
  Placeholder: "fed, or an error",
  PlaceholderV2: "fed, or an error",
  BiasAddV1: "BiasAdd's own lowering under its first name",
  GatherRows: "this project's own; the engine's tests look rows up",
  BoostedTreesBucketize: "TensorFlow 2.21 has no kernel any more; strangers' models have it",
  GatherTree: "Addons>GatherTree, which a strangers' model has, under the name it had in TensorFlow 1's contrib",
  BucketizeWithInputBoundaries: "TensorFlow 2.21 has no kernel any more; strangers' models have it",
  XlaSharding: "its input; there is one device",
  Iterator: "must be fed around, or is an error",
  IteratorV2: "must be fed around, or is an error",
  IteratorFromStringHandle: "must be fed around, or is an error",
  IteratorFromStringHandleV2: "must be fed around, or is an error",
  OneShotIterator: "must be fed around, or is an error",
  IteratorGetNext: "must be fed around, or is an error",
  IteratorGetNextSync: "must be fed around, or is an error",
};

const COMPOSED = new Set(composedOps());
const { cases, inPrograms } = readOpCases();
const coverage = new OpCoverage();

describe("every op answers as TensorFlow", () => {
  const byOp = new Map<string, OpCase[]>();
  for (const item of cases) {
    const list = byOp.get(item.op) ?? [];
    byOp.set(item.op, list);
    list.push(item);
  }
  for (const [op, items] of [...byOp].sort(([a], [b]) => (a < b ? -1 : 1))) {
    it(op, async () => {
      const wrong: string[] = [];
      for (const [i, item] of items.entries()) wrong.push(...(await differences(item, i)));
      assert.deepEqual(wrong, []);
    });
  }

  it("has cases for every op that is implemented", async () => {
    const inModels = await opsOfModels();
    const without = [...new Set([...hostOps(), ...lowerings.keys(), ...composedOps(), ...describedOps()])].filter(
      (op) => {
        const names = [op, `${op}V2`];
        return (
          !names.some((name) => byOp.has(name) || inPrograms.has(name) || inModels.has(name)) && !(op in WITHOUT_CASES)
        );
      },
    );
    assert.deepEqual(without, []);
  });

  it("is told in docs/coverage.md", () => {
    holdSection("ops", coverage.table(byOp));
  });
});

async function differences(given: OpCase, index: number): Promise<string[]> {
  const item = given.op in PROMISED ? { ...given, promised: PROMISED[given.op] } : given;
  // Where TensorFlow has no kernel for the dtype, any answer is as good as none.
  if (item.error === "UNIMPLEMENTED" || EXCEPTIONS[item.op]?.(item)) return [];
  const wrong: string[] = [];
  const note = (where: string, verdict: Verdict): void => {
    if (verdict.kind !== "wrong" || REFUSED_AT_RUN.test(verdict.why)) return;
    const shapes = item.inputs.map(({ dtype, shape }) => `${dtype}[${shape.join()}]`).join();
    wrong.push(`${item.label} ${shapes} ${where}: ${verdict.why}`);
  };
  const host = await onHost(item);
  note("host", host);
  const isLowered = (lowerings.has(item.op) || COMPOSED.has(item.op)) && !DEVICE_EXCEPTIONS[item.op]?.(item);
  // Sessions cost time: what the onnx package replays itself is not done again, and not every case twice.
  const device = isLowered && item.source !== "onnx" ? await onDevice(item, "shapes") : undefined;
  if (device) note("device", device);
  if (device && (item.source === "host-ops" || index % 4 === 0)) {
    const blind = await onDevice(item, "nothing");
    const mayFail = GUESSES.has(item.op) && blind.kind === "wrong" && blind.why.startsWith("ENGINE_FAILED");
    const mayAccept = item.op === "Einsum" && item.error !== undefined;
    if (!mayFail && !mayAccept) note("device without shapes", blind);
  }
  coverage.add(item, host, device);
  const inferred = inferenceError(item);
  if (inferred !== undefined) wrong.push(`${item.label} inference: ${inferred}`);
  return wrong;
}

/** Ops of the models that committed scripts made and other suites run. */
async function opsOfModels(): Promise<Set<string>> {
  const ops = new Set<string>();
  for (const root of [
    "test/fixtures/models",
    "test/fixtures/strangers",
    "packages/engine/test/testdata/control-flow",
  ]) {
    for (const name of readdirSync(join(REPO_DIR, root))) {
      const dir = join(REPO_DIR, root, name, root.startsWith("test/fixtures") ? "1" : "");
      const { tags } = readGolden(join(REPO_DIR, root, name, "golden.json"));
      const { graphDef } = selectMetaGraph(await readSavedModel(dir, {}), tags);
      const nodes = [
        ...(graphDef?.node ?? []),
        ...(graphDef?.library?.function ?? []).flatMap(({ nodeDef }) => nodeDef),
      ];
      for (const { op } of nodes) ops.add(op);
    }
  }
  return ops;
}

function hasNaN({ inputs }: Pick<OpCase, "inputs">): boolean {
  return inputs.some(({ dtype, data }) => {
    if (dtype === "float32" || dtype === "float64") return (data as Float32Array).some(Number.isNaN);
    const nan = dtype === "float16" ? 0x7c00 : dtype === "bfloat16" ? 0x7f80 : undefined;
    return nan !== undefined && (data as Uint16Array).some((bits) => (bits & 0x7fff) > nan);
  });
}

function hasInfinity({ inputs }: Pick<OpCase, "inputs">): boolean {
  return inputs.some(({ dtype, data }) => {
    if (dtype === "float32" || dtype === "float64") return (data as Float32Array).some((x) => Math.abs(x) === Infinity);
    const infinity = dtype === "float16" ? 0x7c00 : dtype === "bfloat16" ? 0x7f80 : undefined;
    return infinity !== undefined && (data as Uint16Array).some((bits) => (bits & 0x7fff) === infinity);
  });
}

function hasHuge(data: unknown): boolean {
  return [...(data as BigInt64Array)].some((value) => value > 2n ** 53n || value < -(2n ** 53n));
}
