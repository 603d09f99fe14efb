export { type DeltaSection, deltaInvalid } from "./delta-format.js";
export {
  appliedBy,
  CHAIN_LENGTH_MAX,
  listEpochs,
  listFolds,
  newestEpoch,
  readDeltaChain,
  refOf,
} from "./delta-chain.js";
export * from "./delta-manifest.js";
export { DeltaFile, type OpenSegment } from "./delta-reader.js";
export { DeltaRowsWriter } from "./delta-writer.js";
export { fileDigest } from "./file-digest.js";
export { halfFromFloat, halfTable } from "./float16.js";
export { LocalRows, type LocalTable } from "./local-rows.js";
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
} from "./manifest.js";
export type { ManifestFile } from "./manifest-file.js";
export { digestHex } from "./partition-format.js";
export {
  BLOCK_BYTES,
  choosePartitionCount,
  type PartitionLayout,
  partitionLayout,
  partitionPath,
  rowsInPartition,
  type Section,
  type StrideGroup,
} from "./partition-layout.js";
export { Overlay, type OverlayUse } from "./overlay.js";
export { PartitionFile } from "./partition-reader.js";
export { type OpenPartitionRowsOptions, PartitionRows } from "./partition-rows.js";
export { type AddOptions, PartitionSet, type PartitionSetOptions } from "./partition-set.js";
export { type FinishedPartition, PartitionFileWriter, type PartitionWriterState } from "./partition-writer.js";
export { encodeRows } from "./row-codec.js";
export { decoderTarget, type RowDecoder, rowDecoder } from "./row-decoder.js";
export { StoredRows } from "./stored-rows.js";
export { RowKernel } from "./row-kernel.js";
export {
  emptyRowReport,
  type ReportedLease,
  type RowBatch,
  type RowLease,
  type RowReport,
  type RowRequest,
  type RowSource,
  rowOutOfRange,
} from "./row-source.js";
export {
  INT8_HEAD_BYTES,
  isTableDType,
  ROW_DTYPES,
  type RowDType,
  storedRowBytes,
  type TableInfo,
} from "./table-info.js";
