import type { Action } from "../security/access.js";
import type { Handler } from "./handler.js";

/** A unary method of a gRPC service. */
export interface Method {
  /** Label of the metrics; "" = not counted, as in TensorFlow Serving. */
  readonly api: string;
  /** What the caller must be allowed to do with the model; "open" = anybody may. */
  readonly action: Action | "open";
  readonly handle: Handler;
}

/** A method that anybody may call. */
export function open(handle: Handler): Method {
  return { api: "", action: "open", handle };
}

/** A method that tells of a model. */
export function describing(handle: Handler): Method {
  return { api: "", action: "describe", handle };
}

/** A method that runs a model. @param api  see {@link Method.api} */
export function predicting(api: string, handle: Handler): Method {
  return { api, action: "predict", handle };
}
