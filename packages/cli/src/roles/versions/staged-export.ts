import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, join } from "node:path";
import { ServingError } from "@shardserve/core";
import { type ExportPlan, type ExportReport, publish, reportOfExport } from "@shardserve/exporter";
import { parseStoreUri, Stores } from "@shardserve/object-store";
import { MANIFEST_FILE } from "@shardserve/rowstore";
import type { Terminal } from "../../command.js";
import { flag } from "../../flags.js";

export const STAGING_FLAGS = {
  stagingDir: flag.text(
    "where a version or delta that goes to s3:// or gs:// is written first; it needs room for all of it; default ~/.cache/shardserve/exports",
    "DIR",
    "",
  ),
};

type StoreTerminal = Pick<Terminal, "environment" | "signal">;

/** Folder on this machine for what is written to, or read from, a version in an object store; the same in each run. */
export function stagingFolder(stagingDir: string, uri: string): string {
  const name = createHash("sha256").update(uri).digest("hex").slice(0, 16);
  return join(stagingDir || join(homedir(), ".cache/shardserve/exports"), name);
}

/**
 * Exports a version into an object store: written to this machine's disk as everywhere else, then put there, its manifest last. A
 * run that was cut off, even by a kill, goes on where it was when it is repeated.
 *
 * @param uri  of the version, `s3://BUCKET/BASE/NAME/VERSION`
 * @param run  writes the version to a directory
 * @throws ServingError OUTPUT_EXISTS, also before anything is written; as runExport and publish
 */
export async function exportToStore(
  plan: ExportPlan,
  uri: string,
  stagingDir: string,
  terminal: StoreTerminal & Pick<Terminal, "progress" | "logger">,
  run: (dir: string) => Promise<ExportReport>,
): Promise<ExportReport> {
  const { environment, progress, signal, logger } = terminal;
  const folder = stagingFolder(stagingDir, uri);
  const dir = join(folder, basename(uri));
  const stores = new Stores(environment);
  try {
    const finished = await reportOfExport(plan, dir);
    if (!finished) {
      await refuseVersion(stores, uri, signal);
      await rm(dir, { recursive: true, force: true }); // of another export
    }
    const report = finished ?? (await run(dir));
    const { sentBytes } = await publish(dir, { stores, uri, manifest: MANIFEST_FILE, progress, logger, signal });
    logger.info({ uri, sentBytes }, "version put into the object store");
    await rm(folder, { recursive: true, force: true });
    return { ...report, out: uri };
  } finally {
    await stores.close();
  }
}

/**
 * Before the source is read: that a version is there already. One that this machine wrote and may not have put into the store yet is left
 * to {@link exportToStore}, which knows whether it is the same.
 *
 * @throws ServingError OUTPUT_EXISTS; what the store's client reports
 */
export async function refuseStored(uri: string, stagingDir: string, terminal: StoreTerminal): Promise<void> {
  if (existsSync(join(stagingFolder(stagingDir, uri), basename(uri)))) return;
  const stores = new Stores(terminal.environment);
  try {
    await refuseVersion(stores, uri, terminal.signal);
  } finally {
    await stores.close();
  }
}

async function refuseVersion(stores: Stores, uri: string, signal: AbortSignal): Promise<void> {
  const place = parseStoreUri(uri);
  if (!(await (await stores.of(place)).find(place, MANIFEST_FILE, signal))) return;
  throw new ServingError("OUTPUT_EXISTS", `${uri} exists and is never overwritten; choose another version number`);
}
