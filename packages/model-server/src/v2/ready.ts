import { isServingError } from "@shardserve/core";
import type { Predictor } from "../predict/predictor.js";
import type { ModelSpecFields } from "../predict/wire.js";

/** Whether a request to this model would find its version. */
export function isModelReady(predictor: Predictor, spec: ModelSpecFields): boolean {
  try {
    predictor.handle(spec).release();
    return true;
  } catch (error) {
    if (isServingError(error)) return false; // unknown, not loaded, or draining
    throw error;
  }
}
