import { ServingError } from "@shardserve/core";
import { hasOnnxModel } from "@shardserve/onnx";
import { readSavedModel } from "@shardserve/savedmodel";
import type { SourceTensors } from "./export-source.js";
import { OnnxSource } from "./onnx-source.js";
import { SavedModelSource } from "./saved-model-source.js";

/** The tensors of a SavedModel or ONNX model, for comparing them with what was exported. */
export async function openSourceTensors(dir: string, signal?: AbortSignal): Promise<SourceTensors> {
  if (await hasOnnxModel(dir)) return (await OnnxSource.open(dir, signal)).openTensors();
  const savedModel = await readSavedModel(dir, signal ? { signal } : {});
  if (savedModel.variablesPrefix === undefined)
    throw new ServingError("SAVED_MODEL_INVALID", `${dir} has no variables`);
  return new SavedModelSource(savedModel).openTensors();
}
