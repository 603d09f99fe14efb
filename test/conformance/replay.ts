import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ServingError } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { loadOrt } from "@shardserve/native";
import type { Model } from "@shardserve/servable";
import { elementCount, isNumeric, type NumericData, type Tensor, tensor } from "@shardserve/tensor";
import { type Golden, type GoldenCase, goldenDifference, REPO_DIR } from "@shardserve/testkit";

/** A SavedModel with TensorFlow's answers beside it. */
export interface ModelCase {
  readonly name: string;
  readonly dir: string;
  readonly golden: string;
}

/** Models that a committed script made and trained. */
export function ownModels(): ModelCase[] {
  const root = join(REPO_DIR, "test/fixtures/models");
  return readdirSync(root).map((name) => ({
    name: `fixtures/${name}`,
    dir: join(root, name, "1"),
    golden: join(root, name, "golden.json"),
  }));
}

export function sharedModels(shared: string): ModelCase[] {
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

/**
 * Every difference from TensorFlow's answers, in words; [] = conforms.
 *
 * @param load  loads the model; a stateful one is loaded for every case
 */
export async function differences(golden: Golden, load: () => Promise<Model>): Promise<string[]> {
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

/** gRPC status of the error classes of TensorFlow that requests can cause. */
const STATUSES: Readonly<Record<string, string>> = {
  InvalidArgumentError: "INVALID_ARGUMENT",
  FailedPreconditionError: "FAILED_PRECONDITION",
  NotFoundError: "NOT_FOUND",
  OutOfRangeError: "OUT_OF_RANGE",
  DataLossError: "DATA_LOSS",
  UnimplementedError: "UNIMPLEMENTED",
};

/** What a model says to a case: outputs or its refusal. */
export async function ask(model: Model, item: GoldenCase): Promise<ReadonlyMap<string, Tensor> | ServingError> {
  const signature = model.signatures.get(item.signature);
  const inputs = new Map([...(signature?.defaults ?? []), ...item.inputs]);
  if (item.examples) inputs.set([...signature!.inputs.keys()][0]!, item.examples);
  try {
    return (await model.run(item.signature, inputs, {})).outputs;
  } catch (error) {
    if (error instanceof ServingError) return error;
    throw error;
  }
}

async function caseDifferences(model: Model, item: GoldenCase): Promise<string[]> {
  const outputs = await ask(model, item);
  if (outputs instanceof ServingError) {
    if (item.error === undefined) return [`${outputs.code}: ${outputs.message}`];
    const expected = STATUSES[item.error.split(":")[0]!];
    if (expected === undefined ? outputs.status !== "INTERNAL" : outputs.status === expected) return [];
    return [`fails with ${outputs.status} (${outputs.message}) instead of ${item.error}`];
  }
  if (item.outputs === undefined) return [`must fail with ${item.error}`];
  return [...item.outputs].flatMap(([alias, expected]) => {
    const difference = goldenDifference(outputs.get(alias), expected);
    const other = item.otherOutputs?.get(alias);
    if (difference === undefined || (other && goldenDifference(outputs.get(alias), other) === undefined)) return [];
    return [`${alias} ${difference}`];
  });
}

/**
 * Where a request's examples are independent of one another, each must get alone what it gets in company: rows of numbers in,
 * one row out for each. Requests of several examples are split; what cannot be told apart in this way is left out.
 */
export async function oneByOneDifferences(golden: Golden, { dir }: ModelCase): Promise<string[]> {
  const batches = golden.cases.flatMap((item, i) => {
    const count = [...item.inputs.values()][0]?.shape[0] ?? 0;
    const values = [...item.inputs.values(), ...(item.outputs?.values() ?? [])];
    const isBatch = values.every(({ dtype, shape }) => isNumeric(dtype) && shape.length > 0 && shape[0] === count);
    return item.outputs && isBatch && count > 1 && !golden.isStateful ? [{ item, i, count }] : [];
  });
  if (batches.length === 0) return [];
  const model = await loadModel({ dir, tags: golden.tags, ort: loadOrt() });
  const wrong: string[] = [];
  try {
    for (const { item, i, count } of batches) {
      for (let row = 0; row < count; row++) {
        const inputs = new Map([...item.inputs].map(([alias, value]) => [alias, rowOf(value, row)]));
        const answer = await ask(model, { ...item, inputs });
        if (answer instanceof ServingError) wrong.push(`${item.signature}[${i}]: row ${row} alone: ${answer.message}`);
        else {
          for (const [alias, all] of item.outputs!) {
            const difference = goldenDifference(answer.get(alias), rowOf(all, row));
            if (difference !== undefined)
              wrong.push(`${item.signature}[${i}]: row ${row} alone: ${alias} ${difference}`);
          }
        }
      }
    }
  } finally {
    await model.close();
  }
  return wrong;
}

/** Example `row`, as a batch of one. */
function rowOf({ dtype, shape, data }: Tensor, row: number): Tensor {
  const size = elementCount(shape.slice(1)) * ((data as NumericData).length / elementCount(shape));
  const part = (data as Float32Array).slice(row * size, (row + 1) * size);
  return tensor(dtype, [1, ...shape.slice(1)], part as never);
}
