import { existsSync, readdirSync } from "node:fs";
import { mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { REPO_DIR, sharedDir } from "@shardserve/testkit";

/** A SavedModel with what TensorFlow answers for it. */
export interface GoldenModel {
  readonly name: string;
  /** Version directory: saved_model.pb lies here. */
  readonly dir: string;
  /** Path of golden.json. */
  readonly golden: string;
}

const SHARDED_OF_ZOO = [
  "rec-bruteforce-top10",
  "rec-bruteforce-top100",
  "rec-movielens-multitask",
  "rec-ncf-dot",
  "text-sms-phishing-embedding",
];

/** Recommenders of this repository, which a committed script made and trained. */
export function ownModels(): GoldenModel[] {
  const root = join(REPO_DIR, "test/fixtures/models");
  return ["dlrm", "wide-deep"].map((name) => ({
    name,
    dir: join(root, name, "1"),
    golden: join(root, name, "golden.json"),
  }));
}

/** Strangers' models with embeddings; undefined where the shared test data are absent. */
export function strangersModels(): GoldenModel[] | undefined {
  const shared = sharedDir();
  if (shared === undefined) return undefined;
  const zoo = join(shared, "savedmodels/zoo");
  return SHARDED_OF_ZOO.map((name) => ({ name, dir: join(zoo, name), golden: join(zoo, name, "golden.json") }));
}

/** TensorFlow Serving's own test models that TensorFlow can load; undefined where the shared test data are absent. */
export function servingModels(): (GoldenModel & { readonly version: number })[] | undefined {
  const shared = sharedDir();
  if (shared === undefined) return undefined;
  const root = join(shared, "savedmodels/tf-serving");
  const folders = readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return folders.flatMap(({ name }) =>
    readdirSync(join(root, name)).flatMap((file) => {
      const version = /^golden\.(\d+)\.json$/.exec(file)?.[1];
      if (version === undefined) return [];
      return [{ name, version: Number(version), dir: join(root, name, version), golden: join(root, name, file) }];
    }),
  );
}

/** Makes BASE/NAME/VERSION lead to a model, as servers want it. @returns BASE/NAME */
export async function linkVersion(base: string, { name, dir }: GoldenModel, version = 1): Promise<string> {
  const parent = join(base, name);
  await mkdir(parent, { recursive: true });
  if (!existsSync(join(parent, String(version)))) await symlink(dir, join(parent, String(version)));
  return parent;
}
