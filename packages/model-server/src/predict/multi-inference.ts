import {
  create,
  type InferenceResult,
  InferenceResultSchema,
  type InferenceTask,
  type MultiInferenceRequest,
  MultiInferenceResponseSchema,
  toBinary,
} from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { type RowsReport, type ServableHandle, type SignatureInfo, totalReport } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import type { RequestScope } from "../scope.js";
import { runInSlices } from "../slices.js";
import { DEFAULT_SIGNATURE } from "./checks.js";
import { specFields } from "./describe-model.js";
import { answeredBy, checkRegressSignature, classifyOutputs, runClassify, runRegress } from "./examples.js";
import { exampleTensor } from "./example-input.js";
import type { Answer, Predictor } from "./predictor.js";

const CLASSIFY = "tensorflow/serving/classify";
const REGRESS = "tensorflow/serving/regress";

/**
 * Classifies and regresses the same examples with several signatures of one version; results in the order of the tasks.
 * Rules and texts are TensorFlow Serving's (servables/tensorflow/multi_inference.cc); it runs all tasks as one graph,
 * here each is a run of its own.
 */
export async function multiInference(
  predictor: Predictor,
  request: MultiInferenceRequest,
  scope: RequestScope,
): Promise<Answer> {
  const [first] = request.tasks;
  using handle = predictor.handle(specFields(first?.modelSpec) ?? NO_NAME, scope);
  const signatures = request.tasks.length === 0 ? [] : checkTasks(handle, request.tasks);
  const examples = await runInSlices(exampleTensor(request.input, scope.hold), scope.signal);
  const runs = request.tasks.map((task, i) => runTask(predictor, handle, task, signatures[i]!, examples, scope));
  // All runs end before the handle goes, also when one has failed already.
  const settled = await Promise.allSettled(runs);
  const failed = settled.find((end) => end.status === "rejected");
  if (failed) throw failed.reason as Error;
  const done = await Promise.all(runs);
  const response = create(MultiInferenceResponseSchema, { results: done.map(({ result }) => result) });
  const report = totalReport(done.map((run) => run.report));
  return { body: Buffer.from(toBinary(MultiInferenceResponseSchema, response)), report, by: handle.id };
}

const NO_NAME = { name: "", version: undefined, label: undefined, signatureName: "" };

function checkTasks(handle: ServableHandle, tasks: readonly InferenceTask[]): readonly SignatureInfo[] {
  const signatures = new Map<string, SignatureInfo>();
  for (const { modelSpec, methodName } of tasks) {
    if (!modelSpec?.name) throw invalid("Found ModelSpec with an empty model name.");
    if (modelSpec.name !== tasks[0]!.modelSpec!.name) {
      throw invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.");
    }
    const name = modelSpec.signatureName || DEFAULT_SIGNATURE;
    if (signatures.has(name)) throw invalid(`Duplicate evaluation of signature: ${name}`);
    const signature = handle.model.signatures.get(name);
    if (!signature) throw invalid(`Requested signature not found in model graph: ${name}`);
    signatures.set(name, signature);
    if (methodName === CLASSIFY) classifyOutputs(signature);
    else if (methodName === REGRESS) checkRegressSignature(signature);
    else throw new ServingError("UNIMPLEMENTED", `Unsupported signature method_name: ${methodName}`);
  }
  return [...signatures.values()];
}

async function runTask(
  predictor: Predictor,
  handle: ServableHandle,
  task: InferenceTask,
  signature: SignatureInfo,
  examples: Tensor<"string">,
  scope: RequestScope,
): Promise<{ result: InferenceResult; report: RowsReport | undefined }> {
  const modelSpec = answeredBy(handle, signature);
  const run = [predictor, handle, signature, () => examples, scope, "MultiInference"] as const;
  if (task.methodName === CLASSIFY) {
    const { result: value, report } = await runClassify(...run);
    const result = { case: "classificationResult", value } as const;
    return { result: create(InferenceResultSchema, { modelSpec, result }), report };
  }
  const { result: value, report } = await runRegress(...run);
  return { result: create(InferenceResultSchema, { modelSpec, result: { case: "regressionResult", value } }), report };
}

function invalid(message: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", message);
}
