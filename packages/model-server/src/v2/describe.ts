import type { Manager, ServableHandle, SignatureInfo, TensorSpec } from "@shardserve/servable";
import { DEFAULT_SIGNATURE } from "../predict/checks.js";
import { datatypeName } from "./datatype.js";

export const SERVER_NAME = "shardserve";
export const SERVER_EXTENSIONS = ["binary_tensor_data", "model_repository(index)"];
const PLATFORM = "tensorflow_savedmodel";

export interface TensorMetadata {
  readonly name: string;
  readonly datatype: string;
  /** Sizes, -1 = any; a tensor of unknown rank shows as [-1]. */
  readonly shape: readonly number[];
}

export interface ModelMetadata {
  readonly name: string;
  readonly versions: readonly string[];
  readonly platform: string;
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
}

/** What the protocol tells of a model: its available versions, and inputs and outputs of the signature that is called by default. */
export function modelMetadata(manager: Manager, handle: ServableHandle): ModelMetadata {
  const { signatures } = handle.model;
  const signature: SignatureInfo | undefined = signatures.get(DEFAULT_SIGNATURE) ?? [...signatures.values()][0];
  const { name } = handle.id;
  const versions = (manager.statuses(name) ?? []).filter(({ state }) => state === "AVAILABLE");
  return {
    name,
    versions: versions.map(({ version }) => String(version)).reverse(),
    platform: PLATFORM,
    inputs: [...(signature?.inputs.values() ?? [])].map(tensorMetadata),
    outputs: [...(signature?.outputs.values() ?? [])].map(tensorMetadata),
  };
}

function tensorMetadata({ name, dtype, shape }: TensorSpec): TensorMetadata {
  return { name, datatype: datatypeName(dtype), shape: shape ?? [-1] };
}

/** One version in a repository index; the states are Triton's words. */
export interface IndexEntry {
  readonly name: string;
  readonly version: string;
  readonly state: "LOADING" | "READY" | "UNLOADING" | "UNAVAILABLE";
  /** Why it is not available. */
  readonly reason?: string;
}

const INDEX_STATES = {
  START: "LOADING",
  LOADING: "LOADING",
  AVAILABLE: "READY",
  UNLOADING: "UNLOADING",
  END: "UNAVAILABLE",
} as const;

/** Every version of every model that was ever wanted here, and what became of it. */
export function repositoryIndex(manager: Pick<Manager, "names" | "statuses">): readonly IndexEntry[] {
  return [...manager.names()].sort().flatMap((name) =>
    (manager.statuses(name) ?? []).map(({ version, state, error }) => ({
      name,
      version: String(version),
      state: INDEX_STATES[state],
      ...(error.code !== "OK" && { reason: error.message }),
    })),
  );
}
