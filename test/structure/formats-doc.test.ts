import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { REPO } from "./sources.js";

/** A field that a codec reads, be it of an object within. */
const FIELD =
  /\b(?:reader|item|error|shadow)\.(?:text|texts|integer|integers|number|boolean|oneOf|object|objects|raw)\(\s*"(\w+)"/g;
const KEY = /^ \* \| `([^`]+)` \|/gm;

describe("docs/formats.md", () => {
  const records = join(REPO, "packages", "registry", "src", "records");
  const [, registry = ""] =
    /^## Registry\n(.*?)^## /ms.exec(readFileSync(join(REPO, "docs", "formats.md"), "utf8")) ?? [];

  it("has every key of the registry", () => {
    const keys = [...readFileSync(join(records, "cluster-keys.ts"), "utf8").matchAll(KEY)].map((match) => match[1]!);
    assert.ok(keys.length > 10);
    assert.deepEqual(
      keys.filter((key) => !registry.includes(`| \`${key}\` |`)),
      [],
    );
  });

  it("has every field of its values", () => {
    const fields = [...readFileSync(join(records, "record-codecs.ts"), "utf8").matchAll(FIELD)].map(
      (match) => match[1]!,
    );
    assert.ok(fields.length > 40);
    assert.deepEqual(
      fields.filter((field) => !new RegExp(`\\b${field}\\b`).test(registry)),
      [],
    );
  });
});
