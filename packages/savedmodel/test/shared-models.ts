import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Real SavedModels: `../shared/savedmodels` beside the repository, or what SHARDSERVE_SHARED names. */
export const sharedModels = join(
  process.env["SHARDSERVE_SHARED"] ?? fileURLToPath(new URL("../../../../../shared", import.meta.url)),
  "savedmodels",
);

/** Every directory below that holds a saved_model.pb. */
export function modelDirs(root = sharedModels): string[] {
  if (!existsSync(root)) return [];
  return readdirSync(root, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.name === "saved_model.pb")
    .map((entry) => entry.parentPath)
    .sort();
}

/** Skips the running test and says why when the shared models are absent. */
export function needSharedModels(context: Mocha.Context): void {
  if (existsSync(sharedModels)) return;
  console.log(`skipped: ${sharedModels} is absent`);
  context.skip();
}
