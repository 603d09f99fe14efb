import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ServingError } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { loadOrt } from "@shardserve/native";
import { readGolden, REPO_DIR, sharedDir } from "@shardserve/testkit";
import { differences, oneByOneDifferences, ownModels, sharedModels } from "./replay.js";
import { holdSection } from "./support/coverage-doc.js";
import { shardedDifferences } from "./support/sharded.js";

/**
 * Replays what TensorFlow answered for whole SavedModels: strangers' models and TensorFlow Serving's own test models, as
 * they are, with all tables in partition files, and with the examples of a request one by one.
 * expected.json says of each whether it passes; a model that gets better or worse than it says fails the test.
 */

const EXPECTED = JSON.parse(readFileSync(join(REPO_DIR, "test/conformance/expected.json"), "utf8")) as Readonly<
  Record<string, string>
>;

describe("conformance with TensorFlow", () => {
  const shared = sharedDir();
  const models = [...ownModels(), ...(shared === undefined ? [] : sharedModels(shared))];
  const rows: string[] = [];
  const table: string[] = [];

  if (shared === undefined) {
    it("replays strangers' models", function () {
      console.log("skipped: no ../shared with SavedModels (SHARDSERVE_SHARED names it)");
      this.skip();
    });
  }

  for (const item of models) {
    it(item.name, async () => {
      const golden = readGolden(item.golden);
      const before = { ...loadOrt().live };
      const wrong = await differences(golden, () =>
        loadModel({ dir: item.dir, tags: golden.tags, ort: loadOrt() }),
      ).catch((error: Error) => {
        if (!(error instanceof ServingError)) throw error;
        return [`load: ${error.code}: ${error.message}`];
      });
      assert.deepEqual(loadOrt().live, before, "a closed model leaves nothing behind");
      const sharded = await shardedDifferences(item, golden).catch((error: Error) => [error.message]);
      const separate = wrong.length > 0 ? [] : await oneByOneDifferences(golden, item);
      const total = golden.cases.length;
      const equal = (found: readonly string[]): string => `${total - Math.min(total, casesOf(found))} of ${total}`;
      const note = EXPECTED[item.name] ?? (golden.isLoadable ? "" : "TensorFlow cannot load it");
      table.push(`| ${item.name} | ${equal(wrong)} | ${sharded ? equal(sharded) : ""} | ${note} |`);
      rows.push(`${wrong.length === 0 ? "pass" : "FAIL"}  ${item.name}  ${wrong[0]?.slice(0, 160) ?? ""}`);
      const expected = EXPECTED[item.name] ?? "pass";
      if (expected === "pass") assert.deepEqual([...wrong, ...(sharded ?? []), ...separate], []);
      else assert.notEqual(wrong.length, 0, `${item.name} passes now: say so in test/conformance/expected.json`);
    });
  }

  if (shared !== undefined) {
    it("is told in docs/coverage.md", () => {
      holdSection("models", ["| model | cases | sharded | notes |", "|---|---|---|---|", ...table].join("\n"));
    });
  }

  after(() => {
    const passing = rows.filter((row) => row.startsWith("pass")).length;
    console.log(`\nconformance: ${passing} of ${rows.length} models answer as TensorFlow does`);
    for (const row of rows.filter((line) => !line.startsWith("pass"))) console.log(`  ${row}`);
  });
});

/** Number of cases that differences "signature[i]: ..." are of; a model that does not load fails in all. */
function casesOf(found: readonly string[]): number {
  const labels = found.map((text) => /^[^:]*\[\d+\]/.exec(text)?.[0]);
  return labels.includes(undefined) ? Number.POSITIVE_INFINITY : new Set(labels).size;
}
