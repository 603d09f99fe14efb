import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { ServingError } from "@shardserve/core";
import { loadModel, type LoadModelOptions } from "@shardserve/engine";
import { installedTensorFlow, loadOrt, loadTensorFlow } from "@shardserve/native";
import { readGolden, REPO_DIR, sharedDir, tensorFlowDir } from "@shardserve/testkit";
import { differences, type ModelCase, ownModels, sharedModels } from "../conformance/replay.js";

/**
 * `npm run check:gpu`: replays TensorFlow's recorded answers on every GPU engine of this machine, then measures a DLRM on
 * each. Says what ran where; fails where there is no GPU, or where an answer differs. `--json FILE` goes to the benchmark.
 */

interface GpuEngine {
  readonly name: string;
  readonly options: Pick<LoadModelOptions, "engine" | "tensorFlow">;
}

const ort = loadOrt();
const found: GpuEngine[] = [];
const absent: string[] = [];

const attempt = async (what: string, open: () => Promise<GpuEngine>): Promise<void> => {
  try {
    found.push(await open());
  } catch (error) {
    if (!(error instanceof ServingError)) throw error;
    absent.push(`${what}: ${error.message}`);
  }
};

await attempt("TensorFlow", async () => {
  const directory = tensorFlowDir() ?? installedTensorFlow();
  if (directory === undefined) throw new ServingError("DEPENDENCY_MISSING", "there is no libtensorflow");
  const tensorFlow = await loadTensorFlow({ directory, device: "gpu" });
  const gpus = tensorFlow.devices.filter(({ type }) => type === "GPU");
  const sizes = gpus.map(({ name, memoryBytes }) => `${name} with ${Math.round(memoryBytes / 2 ** 20)} MiB`);
  const name = `TensorFlow ${tensorFlow.version} on ${sizes.join(", ")}`;
  return { name, options: { engine: "tensorflow", tensorFlow } };
});
await attempt("ONNX Runtime", async () => {
  const { provider } = await ort.findGpu();
  return { name: `ONNX Runtime ${ort.version} through ${provider}`, options: { engine: "onnxruntime" } };
});

for (const reason of absent) console.log(`no GPU: ${reason}`);
if (found.length === 0) {
  console.error("\ncheck:gpu: NO GPU WAS FOUND; nothing was run, nothing is shown");
  process.exit(1);
}

const shared = sharedDir();
if (shared === undefined) console.log("no ../shared: only the project's own models are replayed");
const models: readonly ModelCase[] = [...ownModels(), ...(shared === undefined ? [] : sharedModels(shared))];
let failures = 0;
for (const { name, options } of found) {
  console.log(`\n== ${name}`);
  let passed = 0;
  for (const item of models) {
    const golden = readGolden(item.golden);
    if (!golden.isLoadable) continue;
    const where = new Set<string>();
    const load = async () => {
      const model = await loadModel({ dir: item.dir, tags: golden.tags, ort, ...options });
      where.add(`${model.engine.name}, ${model.engine.device}, ${model.engine.form}`);
      return model;
    };
    const wrong = await differences(golden, load).catch((error: unknown) => {
      if (!(error instanceof ServingError)) throw error;
      return [`load: ${error.code}: ${error.message}`];
    });
    if (wrong.length === 0) passed++;
    else failures++;
    console.log(`${wrong.length === 0 ? "pass" : "FAIL"}  ${item.name}  (${[...where].join("; ")})  ${wrong[0] ?? ""}`);
  }
  console.log(`${passed} of ${models.length} models answer as TensorFlow does on ${name}`);
}

console.log("\n== DLRM");
const bench = [join(REPO_DIR, "loadtest/dist/bench.js"), "dlrm", "--device=gpu", ...process.argv.slice(2)];
const { status } = spawnSync(process.execPath, bench, { stdio: "inherit" });
if (status !== 0) failures++;
console.log(failures === 0 ? "\ncheck:gpu: all passed" : `\ncheck:gpu: ${failures} FAILED`);
process.exit(failures === 0 ? 0 : 1);
