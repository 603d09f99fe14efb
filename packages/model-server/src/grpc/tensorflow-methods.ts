import {
  ClassificationRequestSchema,
  create,
  GetModelMetadataRequestSchema,
  GetModelStatusRequestSchema,
  type ModelServerConfig,
  type ModelSpec,
  MultiInferenceRequestSchema,
  RegressionRequestSchema,
  ReloadConfigRequestSchema,
  ReloadConfigResponseSchema,
  SessionRunRequestSchema,
  StatusProtoSchema,
  toBinary,
} from "@shardserve/api";
import { type CancelSignal, ServingError } from "@shardserve/core";
import type { Manager } from "@shardserve/servable";
import { DEFAULT_SIGNATURE } from "../predict/checks.js";
import { getModelMetadata, getModelStatus, specFields } from "../predict/describe-model.js";
import { exampleTensor } from "../predict/example-input.js";
import { classifyAnswer, type ReadExamples, regressAnswer } from "../predict/examples.js";
import { multiInference } from "../predict/multi-inference.js";
import type { Answer, Predictor } from "../predict/predictor.js";
import { sessionRun } from "../predict/session-run.js";
import type { LoggedCall } from "../request-log/request-log.js";
import type { RequestScope } from "../scope.js";
import { runInSlices } from "../slices.js";
import { decodeMessage } from "./handler.js";
import { describing, type Method, predicting } from "./method.js";

/** @throws ServingError when the configuration is refused, or a model in it does not become available */
export type Reload = (config: ModelServerConfig, options: { readonly signal: CancelSignal }) => Promise<void>;

export interface TensorflowServiceOptions {
  readonly manager: Manager;
  readonly predictor: Predictor;
  /** Applies the configuration of a HandleReloadConfigRequest; undefined = such requests are refused. */
  readonly reload: Reload | undefined;
}

/** TensorFlow Serving's three services, by method. */
export function tensorflowMethods(options: TensorflowServiceOptions) {
  return {
    prediction: predictionMethods(options),
    session: sessionMethods(options),
    model: modelMethods(options),
  };
}

function predictionMethods({ manager, predictor }: TensorflowServiceOptions): Readonly<Record<string, Method>> {
  return {
    Predict: predicting("Predict", (bytes, scope, onModel) => predictor.predict(bytes, scope, onModel)), // logs by itself
    Classify: predicting("Classify", (bytes, scope, onModel) => {
      const { modelSpec, input } = decodeMessage(ClassificationRequestSchema, bytes);
      onModel(modelSpec?.name ?? "");
      return logged(predictor, "Classify", bytes, modelSpec, () =>
        classifyAnswer(predictor, specFields(modelSpec), examplesIn(input, scope), scope),
      );
    }),
    Regress: predicting("Regress", (bytes, scope, onModel) => {
      const { modelSpec, input } = decodeMessage(RegressionRequestSchema, bytes);
      onModel(modelSpec?.name ?? "");
      return logged(predictor, "Regress", bytes, modelSpec, () =>
        regressAnswer(predictor, specFields(modelSpec), examplesIn(input, scope), scope),
      );
    }),
    MultiInference: predicting("", (bytes, scope, onModel) => {
      const request = decodeMessage(MultiInferenceRequestSchema, bytes);
      onModel(request.tasks[0]?.modelSpec?.name ?? "");
      return logged(predictor, "MultiInference", bytes, undefined, () => multiInference(predictor, request, scope));
    }),
    GetModelMetadata: describing((bytes, _scope, onModel) => {
      const request = decodeMessage(GetModelMetadataRequestSchema, bytes);
      onModel(request.modelSpec?.name ?? "");
      return getModelMetadata(manager, request);
    }),
  };
}

function examplesIn(input: Uint8Array, scope: RequestScope): ReadExamples {
  return () => runInSlices(exampleTensor(input, scope.hold), scope.signal);
}

function sessionMethods({ predictor }: TensorflowServiceOptions): Readonly<Record<string, Method>> {
  return {
    SessionRun: predicting("SessionRun", (bytes, scope, onModel) => {
      const request = decodeMessage(SessionRunRequestSchema, bytes);
      onModel(request.modelSpec?.name ?? "");
      return logged(predictor, "SessionRun", bytes, request.modelSpec, () => sessionRun(predictor, request, scope));
    }),
  };
}

function modelMethods({ manager, reload }: TensorflowServiceOptions): Readonly<Record<string, Method>> {
  return {
    GetModelStatus: describing((bytes, _scope, onModel) => {
      const request = decodeMessage(GetModelStatusRequestSchema, bytes);
      onModel(request.modelSpec?.name ?? "");
      return { body: Buffer.from(getModelStatus(manager, request)), report: undefined, by: undefined };
    }),
    HandleReloadConfigRequest: {
      api: "",
      action: "reload",
      handle: (bytes, scope, onModel) => {
        onModel("*");
        return handleReload(reload, bytes, scope);
      },
    },
  };
}

/** Answers, and puts request and answer in the request log where they are sampled. */
async function logged(
  { requestLog }: Predictor,
  call: LoggedCall,
  bytes: Buffer,
  spec: ModelSpec | undefined,
  run: () => Promise<Answer>,
): Promise<Answer> {
  const answer = await run();
  if (answer.by && requestLog?.isSampled(answer.by.name)) {
    requestLog.write(call, bytes, answer.body, answer.by, spec?.signatureName || DEFAULT_SIGNATURE);
  }
  return answer;
}

/** Resolves once every model that is new is available; only the caller's deadline limits the wait. */
async function handleReload(reload: Reload | undefined, bytes: Buffer, { signal }: RequestScope): Promise<Answer> {
  if (!reload) {
    throw new ServingError(
      "UNIMPLEMENTED",
      "HandleReloadConfigRequest is not supported here: what this process serves is decided elsewhere",
    );
  }
  const { config } = decodeMessage(ReloadConfigRequestSchema, bytes);
  if (config?.config.case !== "modelConfigList") {
    throw new ServingError(
      "INVALID_ARGUMENT",
      "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported",
    );
  }
  await reload(config, { signal });
  const response = create(ReloadConfigResponseSchema, { status: create(StatusProtoSchema) });
  return { body: Buffer.from(toBinary(ReloadConfigResponseSchema, response)), report: undefined, by: undefined };
}
