import { ServingError } from "@shardserve/core";
import { percentDecoded } from "../rest/url.js";

const MODEL = /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(?:\/(ready|infer))?$/;

/** Triton's extension for model repositories: a list of what is here. */
const INDEX_PATH = "/v2/repository/index";

export type InferMethod = "index" | "live" | "ready" | "server" | "model-ready" | "model-metadata" | "infer";

export interface InferTarget {
  readonly method: InferMethod;
  /** "" where the request is about the server, "*" where it is about all models. */
  readonly model: string;
  readonly version: string;
}

export function isInferPath(path: string): boolean {
  return path === "/v2" || path.startsWith("/v2/");
}

/**
 * The paths of the Open Inference Protocol v2.
 *
 * @throws ServingError NOT_FOUND for every other path or method
 */
export function parseInferTarget(httpMethod: string, path: string): InferTarget {
  if (httpMethod === "GET") {
    const method = SERVER_PATHS[path];
    if (method) return { method, model: "", version: "" };
  }
  if (httpMethod === "POST" && path === INDEX_PATH) return { method: "index", model: "*", version: "" };
  const [, name, version = "", word] = MODEL.exec(path) ?? [];
  const isPost = word === "infer";
  if (name === undefined || httpMethod !== (isPost ? "POST" : "GET")) {
    throw new ServingError(
      "NOT_FOUND",
      `Not found: ${httpMethod} ${path} is nothing of the Open Inference Protocol v2`,
    );
  }
  const method = isPost ? "infer" : word === "ready" ? "model-ready" : "model-metadata";
  return { method, model: percentDecoded(name), version: percentDecoded(version) };
}

/** Paths that tell of the server only; probes ask for them without a token. */
export function isOpenToAll(path: string): boolean {
  return path in SERVER_PATHS;
}

const SERVER_PATHS: Readonly<Record<string, InferMethod>> = {
  "/v2": "server",
  "/v2/": "server",
  "/v2/health/live": "live",
  "/v2/health/ready": "ready",
};
