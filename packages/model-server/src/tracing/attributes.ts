import type { ServableId } from "@shardserve/servable";
import type { TraceAttributes } from "./tracing.js";

/** What a trace tells of the model. @param model  a name that is served, or "" */
export function traceAttributes(model: string, by: ServableId | undefined): TraceAttributes {
  return { "shardserve.model": model, ...(by && { "shardserve.version": by.version }) };
}
