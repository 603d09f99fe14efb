import { ServingError } from "@shardserve/core";
import type { ModelSpecFields } from "../predict/wire.js";

const PREDICTION = /^\/v1\/models\/([^/:]+)(?:\/versions\/(\d+)|\/labels\/([^/:]+))?:(classify|regress|predict)$/i;
const DESCRIPTION = /^\/v1\/models(?:\/([^/:]+))?(?:\/versions\/(\d+)|\/labels\/([^/:]+))?(?:\/(metadata))?$/i;
const INT64_MAX = 2n ** 63n - 1n;

export type RestMethod = "classify" | "regress" | "predict" | "metadata" | "status";

export interface RestTarget {
  readonly method: RestMethod;
  readonly spec: ModelSpecFields;
}

/** The path of a request's target: without what stands before it when a client talks to us as to a proxy, and without the query. */
export function pathOf(target: string): string {
  const start = target.startsWith("/") ? 0 : (/^https?:\/\/[^/?#]*/i.exec(target)?.[0].length ?? 0);
  const query = target.indexOf("?", start);
  return query < 0 ? target.slice(start) : target.slice(start, query);
}

/** Whether a path belongs to the REST API at all. */
export function isApiPath(path: string): boolean {
  return /^\/v1\//i.test(path);
}

/**
 * Reads TensorFlow Serving's URL grammar (model_servers/http_rest_api_util.cc). The path matches whatever its case, but
 * the method's word must be in lower case.
 *
 * @throws ServingError INVALID_ARGUMENT with TensorFlow Serving's texts
 */
export function parseTarget(httpMethod: string, path: string): RestTarget {
  const malformed = () => new ServingError("INVALID_ARGUMENT", `Malformed request: ${httpMethod} ${path}`);
  const pattern = httpMethod === "POST" ? PREDICTION : httpMethod === "GET" ? DESCRIPTION : undefined;
  const match = pattern?.exec(path);
  if (!match) throw malformed();
  const [, name = "", version, label, word] = match;
  const spec: ModelSpecFields = {
    name: percentDecoded(name),
    version: version === undefined ? undefined : parseVersion(version),
    label: label === undefined ? undefined : percentDecoded(label),
    signatureName: "",
  };
  if (httpMethod === "POST") {
    if (word !== "classify" && word !== "regress" && word !== "predict") throw malformed();
    return { method: word, spec };
  }
  if (name === "") throw new ServingError("INVALID_ARGUMENT", "Missing model name in request.");
  return { method: word === "metadata" ? "metadata" : "status", spec };
}

function parseVersion(digits: string): bigint {
  const version = BigInt(digits);
  if (version > INT64_MAX) {
    throw new ServingError("INVALID_ARGUMENT", `Failed to convert version: ${digits} to numeric.`);
  }
  return version;
}

/** %41 -> A; anything that is no escape stays. The result is read as UTF-8. */
export function percentDecoded(text: string): string {
  if (!text.includes("%")) return text;
  const latin1 = Buffer.from(text).toString("latin1");
  const decoded = latin1.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(decoded, "latin1").toString();
}
