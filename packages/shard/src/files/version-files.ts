import type { BytePace } from "@shardserve/core";
import { join } from "node:path";
import type { DeltaSegment, StoredManifest } from "@shardserve/rowstore";
import { openFile, readPiece } from "./file-source.js";

/** The files of one version, as a shard reads them; paths are relative to the version directory. */
export interface VersionFiles {
  /** Where provided files lie. */
  readonly directory: string;
  /**
   * Makes a file readable; whether it is whole is its reader's business.
   *
   * @param pace  bounds how fast it is fetched; absent = nothing does
   * @throws ServingError UNAVAILABLE saying whom it was asked of in vain; DISK_FULL; the signal's reason
   */
  provide(path: string, signal: AbortSignal, pace?: BytePace): Promise<void>;
  /** Whether the rows of deltas are here by partition, each segment as a file of its own; else the rows file is. */
  readonly areSegmentsFiles: boolean;
  /**
   * Makes the rows that a delta or fold has of one partition readable.
   *
   * @param folder  of the delta or fold
   * @throws ServingError as {@link provide}
   */
  provideSegment(folder: string, segment: DeltaSegment, signal: AbortSignal): Promise<void>;
  /** The version's manifest, once it is known to be the right one: copies of what another one named go, all at once. */
  dropOutdated(stored: StoredManifest): Promise<void>;
  /** A reader refused the file: the next time it comes from somebody else. */
  discard(path: string): Promise<void>;
  /** Nobody here needs the file any more. */
  forget(path: string): Promise<void>;
  /** Of what lies in a folder only these paths are needed from now on. */
  keepOnly(folder: string, paths: readonly string[]): Promise<void>;
  /** The version is no longer held. */
  remove(): Promise<void>;
}

/** Files that are read where they are: in the model repository. */
export class RepositoryFiles implements VersionFiles {
  readonly directory: string;
  readonly areSegmentsFiles = false;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** With a pace the file is read through at it: whoever reads it next finds it in memory, and asks little of the repository. */
  async provide(path: string, signal: AbortSignal, pace?: BytePace): Promise<void> {
    if (!pace) return;
    const handle = await openFile(join(this.directory, path));
    try {
      const { size } = await handle.stat();
      for (let at = 0; at < size; at += pace.pieceBytes) {
        const bytes = Math.min(pace.pieceBytes, size - at);
        await pace.take(bytes, signal);
        await readPiece(handle, at, bytes);
      }
    } finally {
      await handle.close();
    }
  }

  async provideSegment(): Promise<void> {}
  async dropOutdated(): Promise<void> {}
  async discard(): Promise<void> {}
  async forget(): Promise<void> {}
  async keepOnly(): Promise<void> {}
  async remove(): Promise<void> {}
}
