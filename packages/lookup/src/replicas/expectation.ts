import { partitionPath, type StoredManifest } from "@shardserve/rowstore";
import type { ProofExpectation } from "@shardserve/transport";

/** What shards must prove for a version whose manifest this executor has read. */
export function proofExpectation(
  cluster: string,
  model: string,
  version: number,
  { manifest, digest }: StoredManifest,
): ProofExpectation {
  const digests = new Map(manifest.files.map((file) => [file.path, file.digest]));
  const partitionDigest = (partition: number) => digests.get(partitionPath(partition));
  return { cluster, model, version, manifestDigest: digest, partitionDigest };
}
