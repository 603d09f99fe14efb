import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's root, from packages/testkit/dist/src. */
export const REPO_DIR = fileURLToPath(new URL("../../../../", import.meta.url));

/** Downloads that tests need and git ignores. */
export const CACHE_DIR = join(REPO_DIR, ".cache");

/**
 * The folder of shared test data (published SavedModels, TensorFlow Serving's own): SHARDSERVE_SHARED, or `shared` beside
 * the repository. Undefined when absent; a suite that needs it skips and says so.
 */
export function sharedDir(): string | undefined {
  const named = process.env.SHARDSERVE_SHARED;
  if (named) return resolve(named);
  const beside = resolve(REPO_DIR, "..", "shared");
  return existsSync(join(beside, "savedmodels")) ? beside : undefined;
}

/**
 * The folder of a libtensorflow to test with: SHARDSERVE_LIBTENSORFLOW, or the wheel that `.ci/run` unpacks into `.cache`.
 * Undefined when absent; a suite that needs it skips and says so.
 */
export function tensorFlowDir(): string | undefined {
  const named = process.env.SHARDSERVE_LIBTENSORFLOW;
  if (named) return resolve(named);
  const cached = join(CACHE_DIR, "tensorflow/tensorflow");
  return existsSync(join(cached, "libtensorflow_cc.so.2")) ? cached : undefined;
}

/** What a suite prints before it skips for want of {@link tensorFlowDir}. */
export const NO_TENSORFLOW =
  "skipped: no libtensorflow. `pip install --no-deps --target .cache/tensorflow tensorflow-cpu` brings one, " +
  "SHARDSERVE_LIBTENSORFLOW names another";
