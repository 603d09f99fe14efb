import { existsSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ServingError } from "@shardserve/core";
import { type EngineModel, loadModel } from "@shardserve/engine";
import { installedTensorFlow, loadOrt, loadTensorFlow, type TensorFlow } from "@shardserve/native";
import type { TensorSpec } from "@shardserve/servable";
import {
  bytesOf,
  elementCount,
  isNumeric,
  newData,
  type NumericData,
  type StringColumn,
  StringColumnBuilder,
  type Tensor,
} from "@shardserve/tensor";
import { type GoldenCase, readGolden, sharedDir, tensorFlowDir } from "@shardserve/testkit";
import { report } from "./machine.js";

/**
 * Every model of the zoo on both engines in one process, with the same threads: latency of a request at batch 1 and 32 as a
 * client of the engine sees it, and the time from the directory to the first answer. The engine `tensorflow` is TensorFlow
 * through its C API, with each model as it stands: nothing of Python, and nothing of our compiler.
 */

const BATCHES = [1, 32] as const;
const LOADS = 3;
/** ONNX Runtime and TensorFlow both take the last of their memory in the second run. */
const WARM_RUNS_MIN = 3;
const WARM_RUNS_MAX = 30;
/** A model that takes this long to answer is run no more often than it must. */
const SLOW_MS = 200;

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      model: { type: "string", default: "" },
      threads: { type: "string", default: String(availableParallelism()) },
      seconds: { type: "string", default: "1" },
      json: { type: "string" },
    },
  });
  const shared = sharedDir();
  const directory = tensorFlowDir() ?? installedTensorFlow();
  if (shared === undefined || directory === undefined) {
    throw new ServingError(
      "DEPENDENCY_MISSING",
      "bench zoo needs ../shared with the zoo and a libtensorflow (SHARDSERVE_LIBTENSORFLOW, or .cache/tensorflow)",
    );
  }
  const threads = Number(values.threads);
  loadOrt({ intraOpThreads: threads });
  const tensorFlow = await loadTensorFlow({
    directory,
    device: "cpu",
    intraOpThreads: threads,
    interOpThreads: threads,
  });
  const rows: Record<string, string | number>[] = [];
  const zoo = join(shared, "savedmodels/zoo");
  for (const name of readdirSync(zoo).sort()) {
    if (!name.includes(values.model) || !existsSync(join(zoo, name, "golden.json"))) continue;
    const golden = readGolden(join(zoo, name, "golden.json"));
    const item = golden.cases.find(({ outputs }) => outputs !== undefined);
    if (!item || golden.isStateful) continue;
    try {
      rows.push(await measure(name, join(zoo, name), golden.tags, item, tensorFlow, Number(values.seconds) * 1000));
    } catch (error) {
      if (!(error instanceof ServingError)) throw error;
      console.log(`${name} is left out: ${error.message.slice(0, 120)}`);
      continue;
    }
    console.log(JSON.stringify(rows.at(-1)));
  }
  report("zoo", [...rows, ...summary(rows)], values.json);
}

async function measure(
  name: string,
  dir: string,
  tags: readonly string[],
  item: GoldenCase,
  tensorFlow: TensorFlow,
  budgetMs: number,
): Promise<Record<string, string | number>> {
  const load = (engine: "onnxruntime" | "tensorflow") => loadModel({ dir, tags, ort: loadOrt(), tensorFlow, engine });
  const row: Record<string, string | number> = { model: name };
  const loadMs = { onnxruntime: [] as number[], tensorflow: [] as number[] };
  for (let i = 0; i < LOADS; i++) {
    for (const engine of ["onnxruntime", "tensorflow"] as const) {
      const startMs = performance.now();
      const model = await load(engine);
      await model.run(item.signature, request(model, item), {});
      loadMs[engine].push(performance.now() - startMs);
      await model.close();
    }
  }
  const ours = await load("onnxruntime");
  const theirs = await load("tensorflow");
  // Graphs with ops that TensorFlow has dropped run in segments there too: no figure of TensorFlow alone.
  row["tf form"] = theirs.engine.form;
  try {
    for (const batch of BATCHES) {
      const inputs = batched(request(ours, item), ours.signatures.get(item.signature)!.inputs, batch);
      if (!inputs) continue;
      const [a, b] = await compare(
        () => ours.run(item.signature, inputs, {}),
        () => theirs.run(item.signature, inputs, {}),
        budgetMs,
      );
      row[`ms @${batch}`] = round(a);
      row[`tf ms @${batch}`] = round(b);
      row[`ratio @${batch}`] = round(a / b);
    }
  } finally {
    await ours.close();
    await theirs.close();
  }
  const [own, other] = [Math.min(...loadMs.onnxruntime), Math.min(...loadMs.tensorflow)];
  return { ...row, "load ms": Math.round(own), "tf load ms": Math.round(other), "load ratio": round(own / other) };
}

/** Milliseconds of both, taken in turns so that whatever else the machine does falls on both alike. */
async function compare(a: () => Promise<unknown>, b: () => Promise<unknown>, budgetMs: number) {
  const times: readonly [number[], number[]] = [[], []];
  for (let i = 0; i < WARM_RUNS_MAX; i++) {
    const startMs = performance.now();
    await a();
    await b();
    if (i + 1 >= WARM_RUNS_MIN && performance.now() - startMs > SLOW_MS) break;
  }
  const endMs = performance.now() + budgetMs;
  do {
    for (const [side, run] of [a, b].entries()) {
      const blockEndMs = performance.now() + 20;
      do {
        const startMs = performance.now();
        await run();
        times[side]!.push(performance.now() - startMs);
      } while (performance.now() < blockEndMs);
    }
  } while (performance.now() < endMs);
  return times.map(quietTime) as [number, number];
}

/** The time that a fifth of the runs stayed below: other work on the machine only ever adds. */
function quietTime(times: number[]): number {
  times.sort((x, y) => x - y);
  return times[Math.floor(times.length / 5)]!;
}

function request(model: EngineModel, item: GoldenCase): Map<string, Tensor> {
  const signature = model.signatures.get(item.signature)!;
  const inputs = new Map([...signature.defaults, ...item.inputs]);
  if (item.examples) inputs.set([...signature.inputs.keys()][0]!, item.examples);
  return inputs;
}

/** A request of `batch` rows, made of the rows of one; undefined where the signature does not batch. */
function batched(
  inputs: ReadonlyMap<string, Tensor>,
  specs: ReadonlyMap<string, TensorSpec>,
  batch: number,
): Map<string, Tensor> | undefined {
  const isBatched = ({ shape }: TensorSpec): boolean => shape === undefined || (shape[0] ?? -1) < 0;
  const values = [...inputs].map(([alias, value]) => ({ alias, value, spec: specs.get(alias)! }));
  if (values.some(({ value, spec }) => value.shape.length === 0 || value.shape[0] === 0 || !isBatched(spec))) {
    return batch === 1 ? new Map(inputs) : undefined;
  }
  return new Map(values.map(({ alias, value }) => [alias, withRows(value, batch)]));
}

function withRows(value: Tensor, count: number): Tensor {
  const [rows, ...rowShape] = value.shape as [number, ...number[]];
  const shape = [count, ...rowShape];
  if (isNumeric(value.dtype)) {
    const source = bytesOf(value.data as NumericData);
    const entries = (value.data as NumericData).length / rows;
    const data = newData(value.dtype, entries * count);
    const rowBytes = source.length / rows;
    for (let i = 0; i < count; i++) {
      const from = (i % rows) * rowBytes;
      bytesOf(data).set(source.subarray(from, from + rowBytes), i * rowBytes);
    }
    return { dtype: value.dtype, shape, data: data as never };
  }
  const strings = new StringColumnBuilder(elementCount(shape));
  const perRow = elementCount(rowShape);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < perRow; k++) strings.push((value.data as StringColumn).at((i % rows) * perRow + k));
  }
  return { dtype: "string", shape, data: strings.build() };
}

function summary(rows: readonly Record<string, string | number>[]): Record<string, string | number>[] {
  const column = (name: string) => rows.map((row) => row[name]).filter((value) => typeof value === "number");
  const total: Record<string, string | number> = { model: "geometric mean" };
  const worst: Record<string, string | number> = { model: "worst" };
  for (const name of ["ratio @1", "ratio @32", "load ratio"]) {
    const values = column(name);
    if (values.length === 0) continue;
    total[name] = round(Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length));
    worst[name] = Math.max(...values);
  }
  return [total, worst];
}

function round(value: number): number {
  return Number(value.toPrecision(3));
}
