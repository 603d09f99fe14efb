// Rewrites the table in docs/errors.md from the error table in packages/core/src/errors.ts.
import { readFileSync, writeFileSync } from "node:fs";
import { ERRORS } from "../packages/core/dist/src/index.js";

/** TensorFlow Serving's REST mapping of gRPC statuses. */
const HTTP = {
  CANCELLED: 499,
  UNKNOWN: 500,
  INVALID_ARGUMENT: 400,
  DEADLINE_EXCEEDED: 504,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  PERMISSION_DENIED: 403,
  RESOURCE_EXHAUSTED: 429,
  FAILED_PRECONDITION: 400,
  ABORTED: 409,
  OUT_OF_RANGE: 400,
  UNIMPLEMENTED: 501,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  DATA_LOSS: 500,
  UNAUTHENTICATED: 401,
};
const rows = Object.entries(ERRORS).map(
  ([code, { status, retry, text }]) => `| \`${code}\` | ${status} | ${HTTP[status]} | ${retry} | ${text} |`,
);
const path = "docs/errors.md";
const table = ["| code | gRPC | HTTP | retry | what happened |", "|---|---|---|---|---|", ...rows].join("\n");
writeFileSync(path, readFileSync(path, "utf8").replace(/(<!-- table -->\n)[^]*?(\n<!-- end -->)/, `$1${table}$2`));
