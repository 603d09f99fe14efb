import type { Manifest, PartitionSet } from "@shardserve/rowstore";
import type { HeldEpochs } from "./held-epochs.js";
import type { VersionFiles } from "../files/version-files.js";
import type { ShardProof } from "@shardserve/transport";

/** One model version of which this shard serves partitions. */
export interface ServedVersion {
  readonly model: string;
  readonly version: number;
  /** Number of this load in LOOKUP frames; a version that is loaded anew gets a new one. */
  readonly channel: number;
  /** Committed delta; 0 = as exported. */
  epoch: number;
  /** Deltas in memory; says which epochs may be asked for. */
  readonly epochs: HeldEpochs;
  readonly files: VersionFiles;
  readonly manifest: Manifest;
  /** Digest of the manifest's bytes as read here, hex. */
  readonly manifestDigest: string;
  readonly set: PartitionSet;
  /** Digest of each held partition's file as verified here, hex; what the shard proves. */
  readonly digests: Map<number, string>;
  /** Whether executors may use the version, and the map that says so; -1 = none yet. */
  isEnabled: boolean;
  generation: number;
}

/** What the shard serves now; replaced entry by entry, read by every lookup. */
export class ServedVersions {
  readonly #byChannel = new Map<number, ServedVersion>();
  readonly #byName = new Map<string, ServedVersion>();
  #lastChannel = 0;

  nextChannel(): number {
    return ++this.#lastChannel;
  }

  add(served: ServedVersion): void {
    this.#byChannel.set(served.channel, served);
    this.#byName.set(servableName(served.model, served.version), served);
  }

  remove(served: ServedVersion): void {
    this.#byChannel.delete(served.channel);
    this.#byName.delete(servableName(served.model, served.version));
  }

  byChannel(channel: number): ServedVersion | undefined {
    return this.#byChannel.get(channel);
  }

  byName(model: string, version: number): ServedVersion | undefined {
    return this.#byName.get(servableName(model, version));
  }

  /** The newest version of a model that is enabled and held here. */
  newest(model: string): ServedVersion | undefined {
    let newest: ServedVersion | undefined;
    for (const served of this.#byName.values()) {
      if (served.model === model && served.isEnabled && served.version > (newest?.version ?? -1)) newest = served;
    }
    return newest;
  }

  all(): IterableIterator<ServedVersion> {
    return this.#byName.values();
  }
}

export function servableName(model: string, version: number): string {
  return `${model}/${version}`;
}

/** What the shard says of itself when a version is opened: every partition that it has verified, with the digest found. */
export function proofOf(served: ServedVersion, cluster: string, shard: string): ShardProof {
  const partitions = [...served.digests.keys()].sort((a, b) => a - b);
  return {
    cluster,
    shard,
    model: served.model,
    version: served.version,
    epoch: served.epoch,
    channel: served.channel,
    manifestDigest: served.manifestDigest,
    partitions,
    digests: partitions.map((partition) => served.digests.get(partition) ?? ""),
  };
}
