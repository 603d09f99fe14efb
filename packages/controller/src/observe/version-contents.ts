import {
  type EpochRef,
  type Manifest,
  partitionLayout,
  partitionPath,
  type StoredManifest,
} from "@shardserve/rowstore";

/** What the leader needs to know of a version on disk. */
export interface VersionContents {
  readonly manifestDigest: string;
  readonly partitionCount: number;
  /** Digest of every partition's file, hex; empty when the version has no sharded table. */
  readonly digests: readonly string[];
  /** Bytes of the largest partition's file; all are equal. */
  readonly partitionBytes: number;
  /** Whole deltas on disk by epoch; absent = none. */
  readonly deltas?: ReadonlyMap<number, DeltaContents>;
  /** Whole folds on disk by epoch; absent = none. */
  readonly folds?: ReadonlyMap<number, FoldContents>;
}

/** What the leader needs to know of a delta on disk. */
export interface DeltaContents {
  readonly epoch: number;
  readonly digest: string;
  readonly baseDigest: string;
  readonly parent: EpochRef;
  readonly createdAtMs: number;
}

/** What the leader needs to know of a fold on disk. */
export interface FoldContents {
  readonly epoch: number;
  /** Of the epoch, as its delta has it. */
  readonly digest: string;
  readonly baseDigest: string;
  /** Of the fold's own manifest. */
  readonly fold: string;
}

/** What the leader has to know of a version directory, from its manifest alone. */
export function contentsOf({ manifest, digest }: StoredManifest): VersionContents {
  const { partitionCount, tables } = manifest;
  const isSharded = tables.length > 0;
  return {
    manifestDigest: digest,
    partitionCount,
    digests: isSharded ? digestsOf(manifest) : [],
    partitionBytes: isSharded ? partitionLayout(tables, partitionCount).fileBytes : 0,
  };
}

function digestsOf({ files, partitionCount }: Manifest): string[] {
  const byPath = new Map(files.map((file) => [file.path, file.digest]));
  // A manifest that was read lists every partition file.
  return Array.from({ length: partitionCount }, (_, partition) => byPath.get(partitionPath(partition)) ?? "");
}
