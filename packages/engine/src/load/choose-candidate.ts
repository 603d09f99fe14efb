import { ServingError } from "@shardserve/core";
import type { Candidate, ModelSource } from "./model-source.js";
import type { LoadModelOptions } from "./options.js";

/**
 * The way that is wanted, or the first that serves every signature; when none does, the first one.
 *
 * @throws ServingError DEPENDENCY_MISSING when TensorFlow is wanted and not there
 */
export async function chooseCandidate(
  { engine = "auto", ort, tensorFlow }: LoadModelOptions,
  source: ModelSource,
): Promise<{ readonly candidate: Candidate; readonly why: string }> {
  if (engine === "onnxruntime") return { candidate: await source.onOnnxRuntime(), why: "it was asked for" };
  if (engine === "tensorflow") {
    if (tensorFlow) return { candidate: await source.onTensorFlow(tensorFlow), why: "it was asked for" };
    throw new ServingError(
      "DEPENDENCY_MISSING",
      "engine tensorflow was asked for and there is no libtensorflow: name its folder, or install @tensorflow/tfjs-node-gpu",
    );
  }
  if (!tensorFlow) return { candidate: await source.onOnnxRuntime(), why: "there is no libtensorflow" };
  const ways = [() => source.onOnnxRuntime(), () => source.onTensorFlow(tensorFlow)] as const;
  const [prefer, otherwise] = tensorFlow.hasGpu ? [ways[1], ways[0]] : ways;
  const first = await prefer();
  const without = ort.gpu ? `ONNX Runtime has a GPU (${ort.gpu.provider})` : "TensorFlow has no GPU";
  const why = tensorFlow.hasGpu ? "TensorFlow has a GPU" : without;
  const [problem] = [...first.broken].filter(([name]) => first.signatures.has(name));
  if (!problem) return { candidate: first, why };
  const second = await otherwise();
  if ([...first.broken.keys()].some((name) => second.broken.has(name))) {
    await second.close();
    return { candidate: first, why };
  }
  await first.close();
  return { candidate: second, why: `${first.engine.library} lacks something: ${problem[1]}` };
}
