import {
  create,
  type DescMessage,
  type MessageInitShape,
  ModelMetadataRequestSchema,
  ModelMetadataResponseSchema,
  ModelReadyRequestSchema,
  ModelReadyResponseSchema,
  ServerLiveResponseSchema,
  ServerMetadataResponseSchema,
  ServerReadyResponseSchema,
  toBinary,
} from "@shardserve/api";
import type { Manager } from "@shardserve/servable";
import { decodeMessage } from "../grpc/handler.js";
import { describing, type Method, open, predicting } from "../grpc/method.js";
import type { Answer, Predictor } from "../predict/predictor.js";
import { isModelReady } from "./ready.js";
import { modelMetadata, SERVER_EXTENSIONS, SERVER_NAME } from "./describe.js";
import { infer, specOf } from "./infer.js";
import { asBuffer, decodeInferRequest, encodeInferResponse, inputTensor } from "./wire.js";

export interface InferenceServiceOptions {
  readonly manager: Manager;
  readonly predictor: Predictor;
  readonly serverVersion: string;
  readonly isReady: () => boolean;
}

type InferenceMethod = "ServerLive" | "ServerReady" | "ServerMetadata" | "ModelReady" | "ModelMetadata" | "ModelInfer";

const NO_PARAMETERS = new Map<string, never>();

/** inference.GRPCInferenceService: KServe's Open Inference Protocol v2, by method. */
export function inferenceMethods(options: InferenceServiceOptions): Record<InferenceMethod, Method> {
  const { manager, predictor, serverVersion, isReady } = options;
  return {
    ServerLive: open(() => answer(ServerLiveResponseSchema, { live: true })),
    ServerReady: open(() => answer(ServerReadyResponseSchema, { ready: isReady() })),
    ServerMetadata: open(() =>
      answer(ServerMetadataResponseSchema, {
        name: SERVER_NAME,
        version: serverVersion,
        extensions: SERVER_EXTENSIONS,
      }),
    ),
    ModelReady: describing((bytes, _scope, onModel) => {
      const { name, version } = decodeMessage(ModelReadyRequestSchema, bytes);
      onModel(name);
      const ready = isReady() && isModelReady(predictor, specOf(name, version, NO_PARAMETERS));
      return answer(ModelReadyResponseSchema, { ready });
    }),
    ModelMetadata: describing((bytes, _scope, onModel) => {
      const { name, version } = decodeMessage(ModelMetadataRequestSchema, bytes);
      onModel(name);
      using handle = predictor.handle(specOf(name, version, NO_PARAMETERS));
      const { inputs, outputs, versions, ...rest } = modelMetadata(manager, handle);
      const tensors = (side: typeof inputs) => side.map((each) => ({ ...each, shape: each.shape.map(BigInt) }));
      const message = { ...rest, versions: [...versions], inputs: tensors(inputs), outputs: tensors(outputs) };
      return { ...answer(ModelMetadataResponseSchema, message), by: handle.id };
    }),
    ModelInfer: predicting("ModelInfer", async (bytes, scope, onModel) => {
      const { modelName, modelVersion, id, parameters, inputs, outputs, isRaw } = decodeInferRequest(bytes);
      onModel(modelName);
      const call = { spec: specOf(modelName, modelVersion, parameters), outputs };
      const result = await infer(predictor, call, inputs, (_name, input) => inputTensor(input), scope);
      const { by, signature, report } = result;
      const body = predictor.encode(by, signature, scope, () => encodeInferResponse(result, id, isRaw));
      return { body, report, by };
    }),
  };
}

function answer<D extends DescMessage>(schema: D, message: MessageInitShape<D>): Answer {
  return { body: asBuffer(toBinary(schema, create(schema, message))), report: undefined, by: undefined };
}
