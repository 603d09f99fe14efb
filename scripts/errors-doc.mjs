// Rewrites the table in docs/errors.md from the error table in packages/core/src/errors.ts.
import { readFileSync, writeFileSync } from "node:fs";
import { ERRORS, HTTP_STATUS } from "../packages/core/dist/src/index.js";

const rows = Object.entries(ERRORS).map(
  ([code, { status, retry, text }]) => `| \`${code}\` | ${status} | ${HTTP_STATUS[status]} | ${retry} | ${text} |`,
);
const path = "docs/errors.md";
const table = ["| code | gRPC | HTTP | retry | what happened |", "|---|---|---|---|---|", ...rows].join("\n");
writeFileSync(path, readFileSync(path, "utf8").replace(/(<!-- table -->\n)[^]*?(\n<!-- end -->)/, `$1${table}$2`));
