import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";

const identity = (bytes: Buffer) => bytes;

/**
 * Bytes in, bytes out: requests are decoded by the handlers, where a bad one gets the right status and its cost is seen,
 * and answers are encoded there once, into one buffer.
 */
function method(
  service: string,
  name: string,
  responseStream = false,
  requestStream = false,
): MethodDefinition<Buffer, Buffer> {
  return {
    path: `/${service}/${name}`,
    requestStream,
    responseStream,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
    originalName: name,
  };
}

function service(name: string, methods: readonly string[], streams: readonly string[] = []): ServiceDefinition {
  const definition: Record<string, MethodDefinition<Buffer, Buffer>> = {};
  for (const each of methods) definition[each] = method(name, each);
  for (const each of streams) definition[each] = method(name, each, true);
  return definition;
}

export const PREDICTION_SERVICE = service("tensorflow.serving.PredictionService", [
  "Predict",
  "Classify",
  "Regress",
  "MultiInference",
  "GetModelMetadata",
]);

export const MODEL_SERVICE = service("tensorflow.serving.ModelService", [
  "GetModelStatus",
  "HandleReloadConfigRequest",
]);

/** Declared by TensorFlow Serving, but not registered by its own binary. */
export const SESSION_SERVICE = service("tensorflow.serving.SessionService", ["SessionRun"]);

/** KServe's Open Inference Protocol v2. */
export const INFERENCE_SERVICE = service("inference.GRPCInferenceService", [
  "ServerLive",
  "ServerReady",
  "ModelReady",
  "ServerMetadata",
  "ModelMetadata",
  "ModelInfer",
]);

export const HEALTH_SERVICE = service("grpc.health.v1.Health", ["Check"], ["Watch"]);

export const REFLECTION_SERVICES = [
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
].map((name): ServiceDefinition => ({ ServerReflectionInfo: method(name, "ServerReflectionInfo", true, true) }));
