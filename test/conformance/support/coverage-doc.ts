import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { REPO_DIR } from "@shardserve/testkit";

const PATH = join(REPO_DIR, "docs/coverage.md");

/**
 * Holds one generated part of docs/coverage.md to `text`. With COVERAGE_DOC=write the file is brought into step instead.
 */
export function holdSection(name: string, text: string): void {
  const [begin, end] = [`<!-- begin ${name} -->`, `<!-- end ${name} -->`];
  const doc = readFileSync(PATH, "utf8");
  const [from, to] = [doc.indexOf(begin) + begin.length, doc.indexOf(end)];
  assert.ok(from >= begin.length && to >= from, `docs/coverage.md has no part "${name}"`);
  const wanted = `\n${text.trim()}\n`;
  if (doc.slice(from, to) === wanted) return;
  if (process.env.COVERAGE_DOC === "write") writeFileSync(PATH, doc.slice(0, from) + wanted + doc.slice(to));
  else assert.equal(doc.slice(from, to), wanted, "run the suite with COVERAGE_DOC=write");
}
