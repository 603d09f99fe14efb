import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ServingError } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { loadOrt } from "@shardserve/native";
import type { Model } from "@shardserve/servable";
import { type Golden, type GoldenCase, goldenDifference, readGolden, REPO_DIR, sharedDir } from "@shardserve/testkit";

/**
 * Replays what TensorFlow answered for whole SavedModels: strangers' models and TensorFlow Serving's own test models.
 * expected.json says of each whether it passes; a model that gets better or worse than it says fails the test.
 */

interface ModelCase {
  readonly name: string;
  readonly dir: string;
  readonly golden: string;
}

const EXPECTED = JSON.parse(readFileSync(join(REPO_DIR, "test/conformance/expected.json"), "utf8")) as Readonly<
  Record<string, string>
>;

/** Models that a committed script made and trained. */
function ownModels(): ModelCase[] {
  const root = join(REPO_DIR, "test/fixtures/models");
  return readdirSync(root).map((name) => ({
    name: `fixtures/${name}`,
    dir: join(root, name, "1"),
    golden: join(root, name, "golden.json"),
  }));
}

function sharedModels(shared: string): ModelCase[] {
  const found: ModelCase[] = [];
  const zoo = join(shared, "savedmodels/zoo");
  for (const name of readdirSync(zoo)) {
    const golden = join(zoo, name, "golden.json");
    if (existsSync(golden)) found.push({ name, dir: join(zoo, name), golden });
  }
  const serving = join(shared, "savedmodels/tf-serving");
  for (const entry of readdirSync(serving, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    for (const file of readdirSync(join(serving, entry.name))) {
      const version = /^golden\.(.+)\.json$/.exec(file)?.[1];
      if (version === undefined) continue;
      const dir = join(serving, entry.name);
      found.push({ name: `${entry.name}/${version}`, dir: join(dir, version), golden: join(dir, file) });
    }
  }
  return found;
}

/** Every difference from TensorFlow's answers, in words; [] = conforms. */
async function differences({ dir }: ModelCase, golden: Golden): Promise<string[]> {
  const load = () => loadModel({ dir, tags: golden.tags, ort: loadOrt() });
  let model = await load();
  const wrong: string[] = [];
  try {
    for (const [i, item] of golden.cases.entries()) {
      if (golden.isStateful && i > 0) {
        await model.close();
        model = await load();
      }
      wrong.push(...(await caseDifferences(model, item)).map((text) => `${item.signature}[${i}]: ${text}`));
    }
  } finally {
    await model.close();
  }
  return wrong;
}

async function caseDifferences(model: Model, item: GoldenCase): Promise<string[]> {
  const signature = model.signatures.get(item.signature);
  const inputs = new Map([...(signature?.defaults ?? []), ...item.inputs]);
  if (item.examples) inputs.set([...signature!.inputs.keys()][0]!, item.examples);
  let outputs: Awaited<ReturnType<Model["run"]>>["outputs"];
  try {
    ({ outputs } = await model.run(item.signature, inputs, {}));
  } catch (error) {
    if (!(error instanceof ServingError)) throw error;
    if (item.error !== undefined && error.status !== "INTERNAL") return [];
    return [`${error.code}: ${error.message}`];
  }
  if (item.outputs === undefined) return [`must fail with ${item.error}`];
  return [...item.outputs].flatMap(([alias, expected]) => {
    const difference = goldenDifference(outputs.get(alias), expected);
    const other = item.otherOutputs?.get(alias);
    if (difference === undefined || (other && goldenDifference(outputs.get(alias), other) === undefined)) return [];
    return [`${alias} ${difference}`];
  });
}

describe("conformance with TensorFlow", () => {
  const shared = sharedDir();
  const models = [...ownModels(), ...(shared === undefined ? [] : sharedModels(shared))];
  const rows: string[] = [];

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
      const wrong = await differences(item, golden).catch((error: Error) => {
        if (!(error instanceof ServingError)) throw error;
        return [`load: ${error.code}: ${error.message}`];
      });
      assert.deepEqual(loadOrt().live, before, "a closed model leaves nothing behind");
      rows.push(`${wrong.length === 0 ? "pass" : "FAIL"}  ${item.name}  ${wrong[0]?.slice(0, 160) ?? ""}`);
      const expected = EXPECTED[item.name] ?? "pass";
      if (expected === "pass") assert.deepEqual(wrong, []);
      else assert.notEqual(wrong.length, 0, `${item.name} passes now: say so in test/conformance/expected.json`);
    });
  }

  after(() => {
    const passing = rows.filter((row) => row.startsWith("pass")).length;
    console.log(`\nconformance: ${passing} of ${rows.length} models answer as TensorFlow does`);
    for (const row of rows.filter((line) => !line.startsWith("pass"))) console.log(`  ${row}`);
  });
});
