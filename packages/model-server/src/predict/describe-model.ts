import {
  AnySchema,
  create,
  fromBinary,
  type GetModelMetadataRequest,
  GetModelMetadataResponseSchema,
  type GetModelStatusRequest,
  type GetModelStatusResponse,
  GetModelStatusResponseSchema,
  Int64ValueSchema,
  type ModelSpec,
  ModelVersionStatus_State,
  SignatureDefMapSchema,
  TensorProtoSchema,
  toBinary,
  toJson,
} from "@shardserve/api";
import { GRPC_STATUS, ServingError } from "@shardserve/core";
import type { Manager, Model, ServableId, VersionStatus } from "@shardserve/servable";
import { handleFor } from "./checks.js";
import type { Answer } from "./predictor.js";
import type { ModelSpecFields } from "./wire.js";

const SIGNATURE_DEF = "signature_def";
const SIGNATURE_DEF_TYPE = "type.googleapis.com/tensorflow.serving.SignatureDefMap";

/** The fields of a generated ModelSpec. */
export function specFields(spec: ModelSpec | undefined): ModelSpecFields | undefined {
  if (!spec) return undefined;
  const choice = spec.versionChoice;
  return {
    name: spec.name,
    version: choice.case === "version" ? BigInt(choice.value.value) : undefined,
    label: choice.case === "versionLabel" ? choice.value : undefined,
    signatureName: spec.signatureName,
  };
}

/** @throws ServingError INVALID_ARGUMENT, NOT_FOUND with TensorFlow Serving's texts */
export function getModelMetadata(manager: Manager, request: GetModelMetadataRequest): Answer {
  if (!request.modelSpec) throw new ServingError("INVALID_ARGUMENT", "Missing ModelSpec");
  if (request.metadataField.length === 0) {
    throw new ServingError("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field");
  }
  for (const field of request.metadataField) {
    if (field !== SIGNATURE_DEF) throw new ServingError("INVALID_ARGUMENT", `Metadata field ${field} is not supported`);
  }
  using handle = handleFor(manager, specFields(request.modelSpec));
  const response = create(GetModelMetadataResponseSchema, {
    modelSpec: {
      name: handle.id.name,
      versionChoice: { case: "version", value: create(Int64ValueSchema, { value: BigInt(handle.id.version) }) },
    },
    metadata: { [SIGNATURE_DEF]: create(AnySchema, { typeUrl: SIGNATURE_DEF_TYPE, value: handle.model.metadata }) },
  });
  const body = Buffer.from(toBinary(GetModelMetadataResponseSchema, response));
  return { body, report: undefined, by: handle.id };
}

/** What metadata tell of a handle. */
interface DescribedServable {
  readonly id: ServableId;
  readonly model: Pick<Model, "metadata">;
}

/** The body of GET .../metadata: protobuf's JSON with proto field names and all defaults written out. */
export function modelMetadataJson({ id, model }: DescribedServable): string {
  const { name, version } = id;
  const spec = { name, signature_name: "", version: String(version) };
  let signatures = signaturesJson.get(model.metadata);
  if (signatures === undefined) {
    signatures = signaturesToJson(model.metadata);
    signaturesJson.set(model.metadata, signatures);
  }
  return `{\n"model_spec":${JSON.stringify(spec, null, 1)}\n,\n"metadata": {"signature_def": ${signatures}\n}\n}\n`;
}

/** By the bytes that they were made of: of thousands of inputs they take many milliseconds, and clients poll. */
const signaturesJson = new WeakMap<Uint8Array, string>();

function signaturesToJson(metadata: Uint8Array): string {
  const signatures = toJson(SignatureDefMapSchema, fromBinary(SignatureDefMapSchema, metadata), PROTO_JSON);
  expandDefaults(signatures as unknown as SignatureDefMapJson);
  return JSON.stringify(signatures, null, 1);
}

const PROTO_JSON = { alwaysEmitImplicit: true, useProtoFieldName: true } as const;

interface SignatureDefMapJson {
  readonly signature_def: Record<string, { defaults: Record<string, unknown> }>;
}

/** Our schema keeps the tensors of `defaults` as bytes, which print as base64; clients expect the message. */
function expandDefaults(map: SignatureDefMapJson): void {
  for (const { defaults } of Object.values(map.signature_def)) {
    for (const [alias, encoded] of Object.entries(defaults)) {
      const bytes = Buffer.from(encoded as string, "base64");
      defaults[alias] = toJson(TensorProtoSchema, fromBinary(TensorProtoSchema, bytes), PROTO_JSON);
    }
  }
}

/**
 * Versions of a model, highest first, or the one that is asked for. A label is ignored, as TensorFlow Serving does.
 *
 * @throws ServingError INVALID_ARGUMENT, NOT_FOUND with TensorFlow Serving's texts
 */
export function modelStatuses(manager: Manager, spec: ModelSpecFields | undefined): readonly VersionStatus[] {
  if (!spec) throw new ServingError("INVALID_ARGUMENT", "Missing ModelSpec");
  const statuses = manager.statuses(spec.name);
  if (!statuses || statuses.length === 0) {
    throw new ServingError("NOT_FOUND", `Could not find any versions of model ${spec.name}`);
  }
  if (spec.version === undefined) return statuses;
  const found = statuses.filter((status) => BigInt(status.version) === spec.version);
  if (found.length === 0) {
    throw new ServingError("NOT_FOUND", `Could not find version ${spec.version} of model ${spec.name}`);
  }
  return found;
}

export function getModelStatus(manager: Manager, request: GetModelStatusRequest): Uint8Array {
  return toBinary(GetModelStatusResponseSchema, statusResponse(modelStatuses(manager, specFields(request.modelSpec))));
}

/** The body of GET /v1/models/NAME: protobuf's JSON, versions as strings. */
export function modelStatusJson(statuses: readonly VersionStatus[]): string {
  const json = toJson(GetModelStatusResponseSchema, statusResponse(statuses), { alwaysEmitImplicit: true });
  return `${JSON.stringify(json, null, 1)}\n`;
}

function statusResponse(statuses: readonly VersionStatus[]): GetModelStatusResponse {
  return create(GetModelStatusResponseSchema, {
    modelVersionStatus: statuses.map(({ version, state, error }) => ({
      version: BigInt(version),
      state: ModelVersionStatus_State[state],
      status: { errorCode: GRPC_STATUS[error.code], errorMessage: error.message },
    })),
  });
}
