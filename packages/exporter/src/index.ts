export { type DeltaOptions, type DeltaPlan, optionsOfVersion, planDelta } from "./delta/delta-plan.js";
export {
  type DenseVariable,
  type ExportOptions,
  type ExportPlan,
  planExport,
  type ShardShare,
  shardShares,
} from "./export/export-plan.js";
export type { SourceTensors, StoredPart } from "./source/export-source.js";
export { openSourceTensors } from "./source/open-tensors.js";
export { refuseExisting } from "./export/staging.js";
export type { ParityReport } from "./export/parity.js";
export { removeStored } from "./store/remove-stored.js";
export { publish, type Published, type PublishOptions } from "./store/publish.js";
export { type ExportReport, reportOfExport, type RunOptions, runExport } from "./export/run-export.js";
export { type DeltaReport, type DeltaRunOptions, type DeltaTableReport, runDelta } from "./delta/run-delta.js";
export { EPOCH_ROWS_MAX, PendingRows, type TableRows } from "./export/pending-rows.js";
export { type AppliedOptions, type AppliedParent, writeApplied } from "./delta/write-applied.js";
export { type FoldOptions, writeFold } from "./delta/write-fold.js";
export { forgetFolded, forgettable } from "./delta/forget-folded.js";
export { proveFold } from "./delta/prove-fold.js";
export { refuseExported } from "./source/refuse-exported.js";
