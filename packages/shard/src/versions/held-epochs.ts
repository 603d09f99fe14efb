import { join } from "node:path";
import { invariant, isServingError, type Logger, ServingError } from "@shardserve/core";
import type { EpochPlan, EpochRecord } from "@shardserve/registry";
import {
  checkFollows,
  DELTA_MANIFEST_FILE,
  DeltaFile,
  EPOCH_FOLDERS,
  epochPath,
  type EpochRef,
  type Overlay,
  type PartitionSet,
  segmentFile,
  type StoredManifest,
} from "@shardserve/rowstore";
import type { DeltaBudget } from "./delta-budget.js";
import type { VersionFiles } from "../files/version-files.js";

export interface HeldEpochsOptions {
  readonly model: string;
  readonly version: number;
  readonly files: VersionFiles;
  readonly stored: StoredManifest;
  readonly set: PartitionSet;
  /** Partitions read at the same time. */
  readonly loadsMax: number;
  readonly budget: DeltaBudget;
  readonly logger: Logger;
}

/** What the deltas of a version are read for. */
export interface Surroundings {
  /** Epochs behind it are new, and must fit into the budget; what is in force must be served. */
  readonly inForce: number;
  /** Partitions that are mapped, and those that the maps give this shard. */
  readonly partitions: readonly number[];
  readonly wanted: ReadonlySet<number>;
}

/**
 * The deltas of one version in this shard's memory: a chain from the export to the newest epoch that the maps want, each
 * proved by digest and checked to follow the one before. An epoch can be asked for once the rows of all held partitions are
 * there, and until the maps say that nobody will; so the epoch in force, the one before and the one being staged are answered
 * side by side.
 */
export class HeldEpochs {
  readonly #options: HeldEpochsOptions;
  #chain: DeltaFile[] = [];
  #oldest = 0;
  #answered: ReadonlySet<number> = new Set([0]);

  constructor(options: HeldEpochsOptions) {
    this.#options = options;
  }

  /** True when rows of the epoch may be asked for. */
  has(epoch: number): boolean {
    return this.#answered.has(epoch);
  }

  get oldest(): number {
    return this.#oldest;
  }

  get newest(): EpochRef {
    const last = this.#chain.at(-1);
    return last
      ? { epoch: last.manifest.epoch, digest: last.digest }
      : { epoch: 0, digest: this.#options.stored.digest };
  }

  /** The error for an epoch that is not here (not yet, or no longer): another replica may have it. */
  refusal(epoch: number): ServingError {
    const { model, version } = this.#options;
    const here = [...this.#answered].join(", ");
    return new ServingError("EPOCH_MISMATCH", `${model}/${version}: epoch ${epoch} is not here, only ${here}`);
  }

  /** When an epoch was made, ms since 1970; undefined for one that is not here. */
  createdAtMs(epoch: number): number | undefined {
    return this.#chain.find(({ manifest }) => manifest.epoch === epoch)?.manifest.createdAtMs;
  }

  /**
   * Works towards the plan: drops epochs that were taken back, reads those that are missing for the partitions held, and
   * forgets those that nobody asks for any more. What failed can be tried again; epochs that were there stay.
   *
   * @throws ServingError NOT_FOUND, DELTA_INVALID, DELTA_OUT_OF_ORDER, DIGEST_MISMATCH, CHECKSUM_MISMATCH naming the file;
   *   RESOURCE_EXHAUSTED; the signal's reason
   */
  async follow(plan: EpochPlan, surroundings: Surroundings, signal: AbortSignal): Promise<void> {
    const { set } = this.#options;
    const { partitions } = surroundings;
    await this.#takeFold(plan, partitions, signal);
    const common = commonLength(plan.chain, this.#chain);
    const isMerged = plan.oldest < set.overlay.oldestEpoch;
    const losesMerged = common < this.#chain.length && this.#chain[common]!.manifest.epoch <= set.overlay.oldestEpoch;
    if (isMerged || losesMerged) return this.#rebuild(plan, partitions, signal);
    while (this.#chain.length > common) await this.#dropNewest();
    for (const ref of plan.chain.slice(common)) await this.#extend(ref, surroundings, signal);
    this.#oldest = plan.oldest;
    this.#refresh();
    await this.#tidy();
    await set.overlay.forgetBefore(plan.oldest);
  }

  /** What a chain no longer has is no longer kept, where copies are. */
  async #tidy(): Promise<void> {
    const paths = this.#chain.map(folderOf);
    for (const folder of EPOCH_FOLDERS) await this.#options.files.keepOnly(folder, paths);
  }

  /**
   * Reads a fold from now on in place of the deltas that it stands for. Their rows are in memory as they are; of use is the
   * fold to partitions that come later, and when this shard starts again. What is before it was given up with the plan's oldest epoch.
   */
  async #takeFold(
    { chain: [first], oldest }: EpochPlan,
    partitions: readonly number[],
    signal: AbortSignal,
  ): Promise<void> {
    const { stored, logger, model, version } = this.#options;
    if (first?.fold === undefined || this.#chain[0]?.fold === first.fold || oldest < first.epoch) return;
    const at = this.#chain.findIndex(({ manifest, digest }) => isSame({ epoch: manifest.epoch, digest }, first));
    if (at < 0) return;
    const fold = await this.#open(first, { epoch: 0, digest: stored.digest }, signal);
    try {
      for (const partition of partitions) await this.#provide(fold, partition, signal);
    } catch (error) {
      await fold[Symbol.asyncDispose]();
      throw error;
    }
    const before = this.#chain.splice(0, at + 1, fold);
    for (const delta of before) await delta[Symbol.asyncDispose]();
    logger.info({ model, version, epoch: first.epoch, deltas: before.length }, "deltas folded");
  }

  /** Adds the rows of all deltas for a partition that is being mapped. */
  async prepare(partition: number, signal: AbortSignal): Promise<void> {
    for (const delta of this.#chain) await this.#stageOne(this.#options.set.overlay, delta, partition, signal);
  }

  /** The partition is no longer held: what was copied for it goes. */
  async forget(partition: number): Promise<void> {
    for (const delta of this.#chain) {
      if (delta.segmentOf(partition)) await this.#options.files.forget(segmentPath(delta, partition));
    }
  }

  /** Closes the files. The rows go with the set. */
  async close(): Promise<void> {
    for (const delta of this.#chain.splice(0)) await delta[Symbol.asyncDispose]();
  }

  async #extend(ref: EpochRecord, surroundings: Surroundings, signal: AbortSignal): Promise<void> {
    const { set, model, version, logger } = this.#options;
    const { inForce, partitions } = surroundings;
    const delta = await this.#open(ref, this.newest, signal);
    try {
      if (ref.epoch > inForce) this.#admit(delta, surroundings);
      await this.#stage(set.overlay, delta, partitions, signal);
    } catch (error) {
      await delta[Symbol.asyncDispose]();
      throw error;
    }
    this.#chain.push(delta);
    this.#refresh();
    logger.info({ model, version, epoch: ref.epoch, partitions: partitions.length }, "delta staged");
  }

  /** A shard that starts follows the maps before its partitions are there: what they will bring counts as well. */
  #admit(delta: DeltaFile, { partitions, wanted }: Surroundings): void {
    const { model, version, budget } = this.#options;
    const held = new Set(partitions);
    let bytes = 0;
    for (const partition of wanted) {
      bytes += delta.segmentOf(partition)?.bytes ?? 0;
      if (held.has(partition)) continue;
      for (const before of this.#chain) bytes += before.segmentOf(partition)?.bytes ?? 0;
    }
    budget.admit(`${model}/${version} epoch ${delta.manifest.epoch}`, bytes);
  }

  async #dropNewest(): Promise<void> {
    const delta = this.#chain.pop() as DeltaFile;
    const { epoch } = delta.manifest;
    this.#refresh(); // before its rows go
    this.#options.set.overlay.dropNewest(epoch);
    await delta[Symbol.asyncDispose]();
    this.#options.logger.info({ model: this.#options.model, version: this.#options.version, epoch }, "delta dropped");
  }

  /** An older epoch than memory can tell apart is wanted: everything is read anew beside what is in use, then swapped. */
  async #rebuild(plan: EpochPlan, partitions: readonly number[], signal: AbortSignal): Promise<void> {
    const { set, stored } = this.#options;
    const overlay = set.newOverlay();
    const chain: DeltaFile[] = [];
    try {
      let parent: EpochRef = { epoch: 0, digest: stored.digest };
      for (const ref of plan.chain) {
        const delta = await this.#open(ref, parent, signal);
        chain.push(delta);
        await this.#stage(overlay, delta, partitions, signal);
        parent = ref;
      }
    } catch (error) {
      for (const delta of chain) await delta[Symbol.asyncDispose]();
      overlay.clear();
      throw error;
    }
    const before = this.#chain;
    this.#chain = chain;
    this.#oldest = plan.oldest;
    this.#refresh();
    set.replaceOverlay(overlay);
    for (const delta of before) await delta[Symbol.asyncDispose]();
    await this.#tidy();
  }

  async #open(ref: EpochRecord, parent: EpochRef, signal: AbortSignal): Promise<DeltaFile> {
    const { files } = this.#options;
    const path = epochPath(ref);
    await files.provide(`${path}/${DELTA_MANIFEST_FILE}`, signal);
    try {
      return await this.#openProved(ref, parent);
    } catch (error) {
      if (isDamage(error)) await files.discard(`${path}/${DELTA_MANIFEST_FILE}`);
      throw error;
    }
  }

  async #openProved(ref: EpochRecord, parent: EpochRef): Promise<DeltaFile> {
    const { files, stored } = this.#options;
    const path = join(files.directory, epochPath(ref));
    const { areSegmentsFiles } = files;
    const delta = await DeltaFile.open(path, stored.manifest.tables, { areSegmentsFiles });
    try {
      if (delta.digest !== ref.digest || delta.fold !== ref.fold) {
        throw new ServingError(
          "DIGEST_MISMATCH",
          `${path}: its manifest has digest ${delta.fold ?? delta.digest}, the leader wants ${ref.fold ?? ref.digest}; is it the same model repository?`,
        );
      }
      checkFollows(delta, stored.manifest, parent, stored.digest, path);
      invariant(delta.manifest.epoch === ref.epoch, "a digest names one epoch");
      return delta;
    } catch (error) {
      await delta[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** All or nothing. */
  async #stage(overlay: Overlay, delta: DeltaFile, partitions: readonly number[], signal: AbortSignal): Promise<void> {
    const { epoch, tables } = delta.manifest;
    overlay.begin(epoch, tables);
    const touched = new Set(delta.partitions);
    const waiting = partitions.filter((partition) => touched.has(partition));
    const work = async () => {
      for (let partition = waiting.pop(); partition !== undefined; partition = waiting.pop())
        await this.#stageOne(overlay, delta, partition, signal);
    };
    const outcomes = await Promise.allSettled(Array.from({ length: this.#options.loadsMax }, work));
    for (const outcome of outcomes) {
      if (outcome.status === "fulfilled") continue;
      overlay.dropNewest(epoch);
      throw outcome.reason;
    }
  }

  /** Rows that were copied damaged come from somebody else the next time. */
  async #stageOne(overlay: Overlay, delta: DeltaFile, partition: number, signal: AbortSignal): Promise<void> {
    await this.#provide(delta, partition, signal);
    try {
      await overlay.stage(partition, delta, { signal });
    } catch (error) {
      if (isDamage(error)) await this.#options.files.discard(segmentPath(delta, partition));
      throw error;
    }
  }

  async #provide(delta: DeltaFile, partition: number, signal: AbortSignal): Promise<void> {
    const segment = delta.segmentOf(partition);
    if (segment) await this.#options.files.provideSegment(folderOf(delta), segment, signal);
  }

  #refresh(): void {
    const epochs = this.#chain.map(({ manifest }) => manifest.epoch).filter((epoch) => epoch >= this.#oldest);
    this.#answered = new Set(this.#oldest === 0 ? [0, ...epochs] : epochs);
  }
}

/** Relative to the version directory. */
function folderOf({ manifest: { epoch }, fold }: DeltaFile): string {
  return epochPath({ epoch, ...(fold !== undefined && { fold }) });
}

function segmentPath(delta: DeltaFile, partition: number): string {
  return `${folderOf(delta)}/${segmentFile(partition)}`;
}

/** True when the file itself is to blame: another copy of it may be whole. */
export function isDamage(error: unknown): boolean {
  return isServingError(error, "DIGEST_MISMATCH", "CHECKSUM_MISMATCH", "DELTA_INVALID", "PARTITION_INVALID");
}

function commonLength(wanted: readonly EpochRecord[], held: readonly DeltaFile[]): number {
  const differs = held.findIndex(({ manifest, digest }, i) => !isSame({ epoch: manifest.epoch, digest }, wanted[i]));
  return differs < 0 ? held.length : differs;
}

function isSame(a: EpochRecord, b: EpochRecord | undefined): boolean {
  return a.epoch === b?.epoch && a.digest === b.digest;
}
