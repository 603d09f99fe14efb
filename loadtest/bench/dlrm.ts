import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { seededRandom, ServingError } from "@shardserve/core";
import { type EngineModel, loadModel, type LoadModelOptions } from "@shardserve/engine";
import { installedTensorFlow, loadOrt, loadTensorFlow } from "@shardserve/native";
import { type Tensor, tensor } from "@shardserve/tensor";
import { tensorFlowDir } from "@shardserve/testkit";
import { criteoKaggleRows, writeDlrm } from "../models/dlrm.js";
import { report } from "./machine.js";

const DIM = 64;
const DENSE_FEATURES = 13;
const BATCHES = [1, 32, 256, 2048] as const;

/**
 * A DLRM of `--size` MiB on every engine of this machine that has the wanted `--device`, tables on this machine: latency of
 * one request after another. Fails where no engine has the device.
 */
export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      device: { type: "string", default: "cpu" },
      size: { type: "string", default: "256" },
      seconds: { type: "string", default: "2" },
      threads: { type: "string", default: String(availableParallelism()) },
      json: { type: "string" },
    },
  });
  const engines = await openAll(values.device === "gpu" ? "gpu" : "cpu", Number(values.threads));
  const work = await mkdtemp(join(tmpdir(), "shardserve-bench-dlrm-"));
  const rows: Record<string, string | number>[] = [];
  try {
    const tables = criteoKaggleRows(Number(values.size) * 2 ** 20, DIM);
    await writeDlrm(join(work, "1"), { tables, dim: DIM, seed: 1 });
    for (const options of engines) {
      const model = await loadModel({ dir: join(work, "1"), ort: loadOrt(), ...options });
      const { library, device, form } = model.engine;
      for (const batch of BATCHES) {
        const ms = await medianMs(model, inputs(batch, tables), Number(values.seconds) * 1000);
        const perSecond = Math.round((batch / ms) * 1000);
        rows.push({ engine: library, device, form, batch, ms: Number(ms.toPrecision(3)), "examples/s": perSecond });
      }
      await model.close();
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  report("dlrm", rows, values.json);
}

async function openAll(device: "cpu" | "gpu", threads: number): Promise<Partial<LoadModelOptions>[]> {
  const ort = loadOrt({ intraOpThreads: threads });
  const engines: Partial<LoadModelOptions>[] = [];
  const absent: string[] = [];
  const attempt = async (open: () => Promise<Partial<LoadModelOptions>>): Promise<void> => {
    try {
      engines.push(await open());
    } catch (error) {
      if (!(error instanceof ServingError)) throw error;
      absent.push(error.message);
    }
  };
  await attempt(async () => {
    if (device === "gpu") await ort.findGpu();
    return { engine: "onnxruntime" };
  });
  await attempt(async () => {
    const directory = tensorFlowDir() ?? installedTensorFlow();
    if (directory === undefined) throw new ServingError("DEPENDENCY_MISSING", "there is no libtensorflow");
    const tensorFlow = await loadTensorFlow({ directory, device, intraOpThreads: threads, interOpThreads: threads });
    return { engine: "tensorflow", tensorFlow };
  });
  for (const reason of absent) console.log(`left out: ${reason}`);
  if (engines.length > 0) return engines;
  throw new ServingError("DEPENDENCY_MISSING", `no engine of this machine has a ${device}`);
}

async function medianMs(model: EngineModel, request: ReadonlyMap<string, Tensor>, budgetMs: number): Promise<number> {
  const once = async () => {
    const startMs = performance.now();
    await model.run("serving_default", request, {});
    return performance.now() - startMs;
  };
  for (let i = 0; i < 10; i++) await once();
  const times: number[] = [];
  for (const endMs = performance.now() + budgetMs; performance.now() < endMs; ) times.push(await once());
  return times.sort((a, b) => a - b)[times.length >> 1]!;
}

function inputs(batch: number, tables: readonly number[]): Map<string, Tensor> {
  const random = seededRandom(batch);
  const dense = Float32Array.from({ length: batch * DENSE_FEATURES }, () => random.next());
  const sparse = new BigInt64Array(batch * tables.length);
  for (let i = 0; i < sparse.length; i++) sparse[i] = BigInt(Math.floor(random.next() * tables[i % tables.length]!));
  return new Map<string, Tensor>([
    ["dense", tensor("float32", [batch, DENSE_FEATURES], dense)],
    ["sparse", tensor("int64", [batch, tables.length], sparse)],
  ]);
}
