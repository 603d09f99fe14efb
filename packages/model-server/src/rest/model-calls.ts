import {
  ClassificationResponseSchema,
  create,
  type ModelSpec,
  RegressionResponseSchema,
  toBinary,
} from "@shardserve/api";
import { type Clock, ServingError } from "@shardserve/core";
import type { Manager, ServableHandle, ServableId } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import { readExampleBody } from "../json/example-body.js";
import { classificationToJson, regressionToJson } from "../json/example-response.js";
import { type OpenBody, openBody, readPredictBody } from "../json/predict-body.js";
import { columnsToJson, rowsToJson } from "../json/predict-response.js";
import { DEFAULT_SIGNATURE } from "../predict/checks.js";
import { modelMetadataJson, modelStatuses, modelStatusJson } from "../predict/describe-model.js";
import { classify, regress } from "../predict/examples.js";
import type { Answer, Predictor } from "../predict/predictor.js";
import type { ModelSpecFields } from "../predict/wire.js";
import type { RequestScope } from "../scope.js";
import { runInSlices } from "../slices.js";
import type { RestTarget } from "./url.js";

export interface ModelCallsOptions {
  readonly manager: Manager;
  readonly predictor: Predictor;
  readonly clock: Clock;
}

/** TensorFlow Serving's REST calls without their transport: JSON in, JSON out. */
export class ModelCalls {
  readonly #options: ModelCallsOptions;

  constructor(options: ModelCallsOptions) {
    this.#options = options;
  }

  /** Status or metadata: the calls without a body. */
  describe({ method, spec }: RestTarget): Answer {
    const { manager, predictor } = this.#options;
    if (method === "status") {
      return { body: Buffer.from(modelStatusJson(modelStatuses(manager, spec))), report: undefined, by: undefined };
    }
    using handle = predictor.handle(spec);
    return { body: Buffer.from(modelMetadataJson(handle)), report: undefined, by: handle.id };
  }

  /** @param bytes  of the body */
  run({ method, spec }: RestTarget, bytes: Buffer, scope: RequestScope): Promise<Answer> {
    return method === "predict" ? this.#predict(spec, bytes, scope) : this.#examples(method, spec, bytes, scope);
  }

  async #predict(spec: ModelSpecFields, bytes: Buffer, scope: RequestScope): Promise<Answer> {
    const { predictor } = this.#options;
    const body = await runInSlices(openBody(bytes, scope.hold), scope.signal);
    const handle = predictor.handle(spec, scope);
    try {
      return await this.#predictOn(handle, body, scope);
    } finally {
      handle.release(); // `using` would be two objects and two closures more for each request
    }
  }

  async #predictOn(
    handle: ServableHandle,
    { document, root, signatureName: name }: OpenBody,
    scope: RequestScope,
  ): Promise<Answer> {
    const { predictor, clock } = this.#options;
    const signatureName = name || DEFAULT_SIGNATURE;
    const signature = handle.model.signatures.get(signatureName);
    if (!signature) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        `Serving signature name: "${signatureName}" not found in signature def`,
      );
    }
    const { format, inputs } = await runInSlices(readPredictBody(document, root, signature), scope.signal);
    const { outputs, report } = await predictor.run(handle, signature, inputs, undefined, scope, "Predict");
    const startMs = clock.nowMs();
    const body = await runInSlices(format === "row" ? rowsToJson(outputs) : columnsToJson(outputs), scope.signal);
    predictor.encoded(handle.id, signature.name, scope, startMs);
    const { requestLog } = predictor;
    if (requestLog?.isSampled(handle.id.name)) requestLog.writePredict(inputs, outputs, handle.id, signature.name);
    return { body, report, by: handle.id };
  }

  async #examples(
    method: RestTarget["method"],
    spec: ModelSpecFields,
    bytes: Buffer,
    scope: RequestScope,
  ): Promise<Answer> {
    const { predictor } = this.#options;
    const { document, root, signatureName } = await runInSlices(openBody(bytes, scope.hold), scope.signal);
    const ofSignature = { ...spec, signatureName };
    const examples = await runInSlices(readExampleBody(document, root), scope.signal);
    if (method === "classify") {
      const { result, spec: modelSpec, report, by } = await classify(predictor, ofSignature, () => examples, scope);
      logExamples("Classify", predictor, examples, by, modelSpec, () =>
        toBinary(ClassificationResponseSchema, create(ClassificationResponseSchema, { result, modelSpec })),
      );
      return { body: classificationToJson(result), report, by };
    }
    const { result, spec: modelSpec, report, by } = await regress(predictor, ofSignature, () => examples, scope);
    logExamples("Regress", predictor, examples, by, modelSpec, () =>
      toBinary(RegressionResponseSchema, create(RegressionResponseSchema, { result, modelSpec })),
    );
    return { body: regressionToJson(result), report, by };
  }
}

function logExamples(
  call: "Classify" | "Regress",
  { requestLog }: Predictor,
  examples: Tensor<"string">,
  by: ServableId,
  { signatureName }: ModelSpec,
  response: () => Uint8Array,
): void {
  if (requestLog?.isSampled(by.name)) requestLog.writeExamples(call, examples, response(), by, signatureName);
}
