import { type ErrorCode, ServingError } from "@shardserve/core";

const CODES: Readonly<Record<number, ErrorCode>> = {
  400: "INVALID_ARGUMENT",
  401: "PERMISSION_DENIED",
  403: "PERMISSION_DENIED",
  404: "NOT_FOUND",
  412: "FAILED_PRECONDITION",
};

/**
 * What a client of an object store threw, as an error that names the place.
 *
 * @param httpStatus  of the answer; undefined when there was none
 * @returns the signal's reason where it aborted
 */
export function storeError(
  doing: string,
  httpStatus: number | undefined,
  cause: unknown,
  signal: AbortSignal | undefined,
): unknown {
  if (signal?.aborted) return signal.reason;
  const code = (httpStatus !== undefined && CODES[httpStatus]) || "UNAVAILABLE";
  const { name, message } = cause as Error;
  const text = message === "" || message === "UnknownError" ? name : `${name}: ${message}`;
  return new ServingError(code, `cannot ${doing}: ${text}${httpStatus === undefined ? "" : ` (HTTP ${httpStatus})`}`, {
    cause,
  });
}
