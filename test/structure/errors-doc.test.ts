import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ERRORS } from "@shardserve/core";
import { REPO } from "./sources.js";

describe("docs/errors.md", () => {
  it("lists exactly the codes of the error table, with their status, retry advice and text", () => {
    const document = readFileSync(join(REPO, "docs/errors.md"), "utf8");
    const rows = [...document.matchAll(/^\| `([A-Z_]+)` \| ([A-Z_]+) \| \d{3} \| (\w+) \| (.+) \|$/gm)];
    const documented = Object.fromEntries(rows.map(([, code, status, retry, text]) => [code, { status, retry, text }]));
    assert.deepEqual(documented, { ...ERRORS }, "run `node scripts/errors-doc.mjs` and commit the result");
  });
});
