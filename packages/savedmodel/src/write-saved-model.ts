import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type SavedModel as SavedModelMessage, SavedModelSchema, toBinary } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { BundleWriter, type BundleWriterOptions } from "./bundle/bundle-writer.js";

/** What a new SavedModel has beside its graph. */
export interface WriteSavedModelOptions {
  /** Adds the variables; without it the model has none. The writer is finished, or aborted on an error, for the caller. */
  readonly variables?: (writer: BundleWriter) => Promise<void>;
  readonly bundle?: BundleWriterOptions;
  /** Files of `assets/`: bytes, or the path of a file to copy. */
  readonly assets?: readonly { readonly filename: string; readonly source: string | Uint8Array }[];
}

/**
 * Writes a SavedModel directory: assets, variables, and saved_model.pb at the end, so that an interrupted write leaves
 * nothing that looks like a model.
 *
 * @throws ServingError OUTPUT_EXISTS when a file is there already, DISK_FULL
 */
export async function writeSavedModel(
  dir: string,
  message: SavedModelMessage,
  options: WriteSavedModelOptions = {},
): Promise<void> {
  for (const { filename, source } of options.assets ?? []) {
    const path = join(dir, "assets", filename);
    await mkdir(dirname(path), { recursive: true });
    await (typeof source === "string" ? copyFile(source, path) : writeFile(path, source));
  }
  if (options.variables) {
    const writer = await BundleWriter.create(join(dir, "variables", "variables"), options.bundle);
    try {
      await options.variables(writer);
      await writer.finish();
    } catch (error) {
      await writer.abort().catch(() => undefined); // the first error is the one to report
      throw error;
    }
  }
  const path = join(dir, "saved_model.pb");
  await mkdir(dir, { recursive: true });
  await writeFile(path, toBinary(SavedModelSchema, message), { flag: "wx" }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "EEXIST")
      throw new ServingError("OUTPUT_EXISTS", `${path} exists; write to another directory`, { cause });
    throw ServingError.from(cause);
  });
}
