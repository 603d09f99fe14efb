import { ServingError } from "@shardserve/core";

/** A file of a forest that is not what it ought to be. */
export function damaged(file: string, what: string): ServingError {
  return new ServingError("SAVED_MODEL_INVALID", `decision forest: ${file}: ${what}; export the model again`);
}

/** A forest that is sound, but of a kind that has no kernel here. */
export function unsupported(what: string): ServingError {
  return new ServingError("UNIMPLEMENTED", `decision forest: ${what} is not supported`);
}
