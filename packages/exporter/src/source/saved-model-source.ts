import { copyFile, cp, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileDigest } from "@shardserve/rowstore";
import { BundleReader, BundleWriter, type SavedModel } from "@shardserve/savedmodel";
import type { DenseChanges, ExportSource, Remainder, SourceTensors, StoredPart } from "./export-source.js";

/** Directories of a model that are carried over as they are. */
const CARRIED = ["assets", "assets.extra"];

/** A SavedModel with a checkpoint. */
export class SavedModelSource implements ExportSource {
  readonly kind = "SavedModel";
  readonly savedModel: SavedModel;

  constructor(savedModel: SavedModel) {
    this.savedModel = savedModel;
  }

  get dir(): string {
    return this.savedModel.dir;
  }

  async openTensors(): Promise<CheckpointTensors> {
    return new CheckpointTensors(await BundleReader.open(this.savedModel.variablesPrefix!));
  }

  /** The graph byte for byte, the variables that serving reads, checksums verified, and the assets. */
  async writeRemainder({ dense, dir, progress, signal }: Remainder): Promise<void> {
    await rm(join(dir, "variables"), { recursive: true, force: true }); // a killed run's; written anew, it is small
    await mkdir(join(dir, "variables"));
    await using tensors = await this.openTensors();
    const writer = await BundleWriter.create(join(dir, "variables", "variables"));
    try {
      for (const { checkpointKey, bytes } of dense) {
        await writer.copy(tensors.bundle, checkpointKey, signal ? { signal } : {});
        progress.advance(bytes);
      }
      await writer.finish();
    } catch (error) {
      await writer.abort().catch(() => undefined); // the first error is the one to report
      throw error;
    }
    await carryFiles(this.dir, dir, new Set());
  }

  /** Tensors are told apart by checksum. */
  async changesSince(before: string, { dense }: Pick<Remainder, "dense">): Promise<DenseChanges> {
    await using was = await BundleReader.open(join(before, "variables", "variables"));
    await using tensors = await this.openTensors();
    const changed = dense.filter(({ checkpointKey }) => {
      const [then, now] = [was.entries.get(checkpointKey), tensors.bundle.entries.get(checkpointKey)];
      return then?.crc32c !== now?.crc32c || then?.dtype !== now?.dtype || then?.shape.join() !== now?.shape.join();
    });
    const [then, now] = [await graphDigest(before), await graphDigest(this.dir)];
    return { tensors: changed.map(({ checkpointKey }) => checkpointKey), isGraphChanged: then !== now };
  }
}

function graphDigest(dir: string): Promise<string> {
  return fileDigest(join(dir, "saved_model.pb"));
}

/** Copies the files of a model that are not its tensors, and what it carries in folders. */
export async function carryFiles(source: string, dir: string, without: ReadonlySet<string>): Promise<void> {
  for (const entry of await readdir(source, { withFileTypes: true })) {
    if (without.has(entry.name)) continue;
    if (entry.isFile()) await copyFile(join(source, entry.name), join(dir, entry.name));
    else if (CARRIED.includes(entry.name))
      await cp(join(source, entry.name), join(dir, entry.name), { recursive: true });
  }
}

/** Bytes of a streamed tensor in memory, twice. */
const STREAM_BYTES = 4 * 2 ** 20;

/** The tensors of a checkpoint. */
class CheckpointTensors implements SourceTensors {
  readonly bundle: BundleReader;

  constructor(bundle: BundleReader) {
    this.bundle = bundle;
  }

  parts(checkpointKey: string): readonly StoredPart[] | undefined {
    const ranges = this.bundle.ranges(checkpointKey);
    if (!ranges) return undefined;
    const entry = this.bundle.entry(checkpointKey);
    const stored = (entry.slices ?? [entry]).filter((part) => part.size > 0);
    return ranges.map((range, i) => ({ ...range, crc32c: stored[i]!.crc32c }));
  }

  stream(checkpointKey: string): AsyncGenerator<Uint8Array> {
    return this.bundle.stream(checkpointKey, { chunkBytes: STREAM_BYTES });
  }

  readRange(checkpointKey: string, start: number, length: number): Promise<Uint8Array> {
    return this.bundle.readRange(checkpointKey, start, length);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.bundle.close();
  }
}
