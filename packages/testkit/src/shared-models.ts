import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { REPO_DIR, sharedDir } from "./repository.js";

/** SavedModels of the repository's own fixtures. */
export const FIXTURE_MODELS = join(REPO_DIR, "test/fixtures/models");

/** SavedModels of strangers and of TensorFlow Serving, below {@link sharedDir}; undefined when absent. */
export function sharedModelsDir(): string | undefined {
  const shared = sharedDir();
  return shared === undefined ? undefined : join(shared, "savedmodels");
}

/** {@link sharedModelsDir}; skips the running test and says why when it is absent. */
export function needSharedModels(context: { skip(): never }): string {
  const dir = sharedModelsDir();
  if (dir !== undefined && existsSync(dir)) return dir;
  console.log(`skipped: ${dir ?? "a folder `shared` of SavedModels beside the repository"} is absent`);
  return context.skip();
}

/** Every directory below `root` that holds a saved_model.pb, sorted; none when there is no such folder. */
export function modelDirs(root: string | undefined): string[] {
  if (root === undefined || !existsSync(root)) return [];
  return readdirSync(root, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.name === "saved_model.pb")
    .map((entry) => entry.parentPath)
    .sort();
}
