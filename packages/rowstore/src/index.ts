export type { DeltaSection } from "./delta/delta-format.js";
export {
  appliedBy,
  CHAIN_LENGTH_MAX,
  checkFollows,
  listEpochs,
  listFolds,
  newestEpoch,
  readDeltaChain,
} from "./delta/delta-chain.js";
export * from "./delta/delta-manifest.js";
export * from "./delta/delta-paths.js";
export { DeltaFile, type OpenSegment } from "./delta/delta-reader.js";
export { DeltaRowsWriter } from "./delta/delta-writer.js";
export { fileDigest } from "./manifest/file-digest.js";
export { halfFromFloat, halfTable } from "./rows/float16.js";
export { LocalRows, type LocalTable } from "./rows/local-rows.js";
export {
  decodeManifest,
  encodeManifest,
  MANIFEST_FILE,
  type Manifest,
  type ManifestLookup,
  partitionDigestOf,
  readManifest,
  type StoredManifest,
  writeManifest,
} from "./manifest/manifest.js";
export type { ManifestFile } from "./manifest/manifest-file.js";
export { digestHex } from "./partition/partition-format.js";
export {
  BLOCK_BYTES,
  choosePartitionCount,
  isPartitionPath,
  type PartitionLayout,
  partitionLayout,
  partitionPath,
  rowsInPartition,
  type Section,
  type StrideGroup,
} from "./partition/partition-layout.js";
export { Overlay, type OverlayUse } from "./delta/overlay.js";
export { PartitionFile } from "./partition/partition-reader.js";
export { type OpenPartitionRowsOptions, PartitionRows } from "./rows/partition-rows.js";
export type { AddOptions } from "./partition/mapped-partitions.js";
export { PartitionSet, type PartitionSetOptions } from "./partition/partition-set.js";
export { RowIndexes } from "./partition/row-indexes.js";
export {
  type FinishedPartition,
  PartitionFileWriter,
  type PartitionWriterState,
} from "./partition/partition-writer.js";
export { encodeRows } from "./rows/row-codec.js";
export { decoderTarget, type RowDecoder, rowDecoder } from "./rows/row-decoder.js";
export { StoredRows } from "./rows/stored-rows.js";
export { RowKernel } from "./rows/row-kernel.js";
export {
  emptyRowReport,
  type LookupOptions,
  type ReportedLease,
  type RowBatch,
  type RowLease,
  type RowReport,
  type RowRequest,
  type RowSource,
  rowOutOfRange,
} from "./rows/row-source.js";
export { isTableDType, type RowDType, storedRowBytes, type TableInfo, tablesByName } from "./manifest/table-info.js";
