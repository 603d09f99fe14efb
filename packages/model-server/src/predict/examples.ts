import {
  ClassificationResponseSchema,
  type ClassificationResult,
  ClassificationResultSchema,
  create,
  Int64ValueSchema,
  type ModelSpec,
  ModelSpecSchema,
  RegressionResponseSchema,
  type RegressionResult,
  RegressionResultSchema,
  toBinary,
} from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import type { RowsReport, ServableHandle, ServableId, SignatureInfo } from "@shardserve/servable";
import { type StringColumn, type Tensor, tfDTypeName } from "@shardserve/tensor";
import type { RequestScope } from "../scope.js";
import { DEFAULT_SIGNATURE } from "./checks.js";
import type { Answer, Predictor } from "./predictor.js";
import type { ModelSpecFields } from "./wire.js";

/**
 * Classify and Regress: predict on serialised tf.Examples, with fixed aliases. Rules and texts are TensorFlow Serving's
 * (servables/tensorflow/{classifier,regressor}.cc), with its check of method names off, as it is by default.
 */

const INPUTS = "inputs";
const CLASSES = "classes";
const SCORES = "scores";
const OUTPUTS = "outputs";

/** Reads the examples of a request, once its signature was found fit. */
export type ReadExamples = () => Tensor<"string"> | Promise<Tensor<"string">>;

interface ExampleResult<R> {
  readonly result: R;
  readonly report: RowsReport | undefined;
}

interface ExampleAnswer<R> extends ExampleResult<R> {
  readonly spec: ModelSpec;
  readonly by: ServableId;
}

export function classify(
  predictor: Predictor,
  spec: ModelSpecFields | undefined,
  examples: ReadExamples,
  scope: RequestScope,
): Promise<ExampleAnswer<ClassificationResult>> {
  return answered(predictor, spec, scope, (handle, signature) =>
    runClassify(predictor, handle, signature, examples, scope, "Classify"),
  );
}

export function regress(
  predictor: Predictor,
  spec: ModelSpecFields | undefined,
  examples: ReadExamples,
  scope: RequestScope,
): Promise<ExampleAnswer<RegressionResult>> {
  return answered(predictor, spec, scope, (handle, signature) =>
    runRegress(predictor, handle, signature, examples, scope, "Regress"),
  );
}

/** Holds the version that a request asks for while one of its signatures runs, and says which one answered. */
async function answered<R>(
  predictor: Predictor,
  spec: ModelSpecFields | undefined,
  scope: RequestScope,
  run: (handle: ServableHandle, signature: SignatureInfo) => Promise<ExampleResult<R>>,
): Promise<ExampleAnswer<R>> {
  using handle = predictor.handle(spec, scope);
  const signature = exampleSignature(handle, spec!.signatureName);
  return { ...(await run(handle, signature)), spec: answeredBy(handle, signature), by: handle.id };
}

/** Classifies with one signature of a version at hand. */
export async function runClassify(
  predictor: Predictor,
  handle: ServableHandle,
  signature: SignatureInfo,
  examples: ReadExamples,
  scope: RequestScope,
  api: string,
): Promise<ExampleResult<ClassificationResult>> {
  const aliases = classifyOutputs(signature);
  const input = await examples();
  const run = await predictor.run(handle, signature, new Map([[INPUTS, input]]), aliases, scope, api);
  const result = classificationResult(input.shape[0]!, run.outputs.get(CLASSES), run.outputs.get(SCORES));
  return { result, report: run.report };
}

/** Regresses with one signature of a version at hand. */
export async function runRegress(
  predictor: Predictor,
  handle: ServableHandle,
  signature: SignatureInfo,
  examples: ReadExamples,
  scope: RequestScope,
  api: string,
): Promise<ExampleResult<RegressionResult>> {
  checkRegressSignature(signature);
  const input = await examples();
  const run = await predictor.run(handle, signature, new Map([[INPUTS, input]]), [OUTPUTS], scope, api);
  return { result: regressionResult(input.shape[0]!, run.outputs.get(OUTPUTS)!), report: run.report };
}

export async function classifyAnswer(...call: Parameters<typeof classify>): Promise<Answer> {
  const { result, spec, report, by } = await classify(...call);
  const response = create(ClassificationResponseSchema, { result, modelSpec: spec });
  return { body: Buffer.from(toBinary(ClassificationResponseSchema, response)), report, by };
}

export async function regressAnswer(...call: Parameters<typeof regress>): Promise<Answer> {
  const { result, spec, report, by } = await regress(...call);
  const response = create(RegressionResponseSchema, { result, modelSpec: spec });
  return { body: Buffer.from(toBinary(RegressionResponseSchema, response)), report, by };
}

function exampleSignature(handle: ServableHandle, name: string): SignatureInfo {
  const key = name === "" ? DEFAULT_SIGNATURE : name;
  const signature = handle.model.signatures.get(key);
  if (!signature) throw invalid(`No signature was found with the name: ${key}`);
  return signature;
}

/** @throws ServingError INVALID_ARGUMENT unless the signature can classify; the outputs to ask for otherwise */
export function classifyOutputs(signature: SignatureInfo): readonly string[] {
  assertOneInput(signature, "classification");
  const { size } = signature.outputs;
  if (size !== 1 && size !== 2) throw invalid(`Expected one or two output Tensors, found ${size}`);
  const aliases = [CLASSES, SCORES].filter((alias) => signature.outputs.has(alias));
  if (aliases.length > 0) return aliases;
  throw invalid(
    `Expected classification signature outputs to contain at least one of "${CLASSES}" or "${SCORES}". ` +
      `Signature was: ${describe(signature)}`,
  );
}

/** @throws ServingError INVALID_ARGUMENT unless the signature can regress */
export function checkRegressSignature(signature: SignatureInfo): void {
  assertOneInput(signature, "regression");
  if (signature.outputs.size !== 1) throw invalid("Expected one output Tensor.");
  if (signature.outputs.has(OUTPUTS)) return;
  throw invalid(`No regression outputs found in SignatureDef: ${describe(signature)}`);
}

function assertOneInput(signature: SignatureInfo, what: string): void {
  if (signature.inputs.size !== 1) throw invalid("Expected one input Tensor.");
  if (!signature.inputs.has(INPUTS)) throw invalid(`No ${what} inputs found in SignatureDef: ${describe(signature)}`);
}

function classificationResult(
  count: number,
  classes: Tensor | undefined,
  scores: Tensor | undefined,
): ClassificationResult {
  if (classes) checkTwoDimensional("classes", "string", classes, count);
  if (scores) checkTwoDimensional("scores", "float32", scores, count);
  if (classes && scores && classes.shape[1] !== scores.shape[1]) {
    throw invalid(
      `Tensors class and score should match in dim_size(1). Got ${classes.shape[1]} vs. ${scores.shape[1]}`,
    );
  }
  const classCount = (classes ?? scores)!.shape[1]!;
  const labels = classes?.data as StringColumn | undefined;
  const values = scores?.data as Float32Array | undefined;
  const classifications = Array.from({ length: count }, (_, row) => ({
    classes: Array.from({ length: classCount }, (_, i) => ({
      label: labels?.textAt(row * classCount + i) ?? "",
      score: values?.[row * classCount + i] ?? 0,
    })),
  }));
  return create(ClassificationResultSchema, { classifications });
}

function checkTwoDimensional(name: string, dtype: "string" | "float32", value: Tensor, count: number): void {
  if (value.shape.length !== 2) {
    throw invalid(`Expected Tensor shape: [batch_size num_classes] but got ${shapeText(value)}`);
  }
  if (value.dtype !== dtype) {
    throw invalid(`Expected ${name} Tensor of ${tfDTypeName(dtype)}. Got: ${tfDTypeName(value.dtype)}`);
  }
  if (value.shape[0] !== count) {
    throw invalid(`Expected ${name} output batch size of ${count}. Got: ${value.shape[0]}`);
  }
}

function regressionResult(count: number, value: Tensor): RegressionResult {
  const { shape } = value;
  if (!(shape.length === 1 || (shape.length === 2 && shape[1] === 1))) {
    throw invalid(
      `Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got ${shapeText(value)}`,
    );
  }
  if (shape[0] !== count) {
    throw invalid(`Input batch size did not match output batch size: ${count} vs. ${shape[0]}`);
  }
  if (value.dtype !== "float32") {
    throw invalid(`Expected output Tensor of DT_FLOAT.  Got: ${tfDTypeName(value.dtype)}`);
  }
  const regressions = Array.from(value.data as Float32Array, (score) => ({ value: score }));
  return create(RegressionResultSchema, { regressions });
}

/** The ModelSpec of an answer. */
export function answeredBy(handle: ServableHandle, signature: SignatureInfo): ModelSpec {
  const version = create(Int64ValueSchema, { value: BigInt(handle.id.version) });
  return create(ModelSpecSchema, {
    name: handle.id.name,
    signatureName: signature.name,
    versionChoice: { case: "version", value: version },
  });
}

function describe(signature: SignatureInfo): string {
  const side = (specs: SignatureInfo["inputs"]) => [...specs.keys()].sort().join(",");
  return `inputs {${side(signature.inputs)}} outputs {${side(signature.outputs)}} method_name: "${signature.method}"`;
}

function shapeText(value: Tensor): string {
  return `[${value.shape.join(",")}]`;
}

function invalid(message: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", message);
}
