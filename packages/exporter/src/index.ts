export { type DeltaOptions, type DeltaPlan, optionsOfVersion, planDelta } from "./delta-plan.js";
export {
  type DenseVariable,
  type ExportOptions,
  type ExportPlan,
  planExport,
  type ShardShare,
  shardShares,
} from "./export-plan.js";
export type { SourceTensors, StoredPart } from "./export-source.js";
export { openSourceTensors } from "./open-tensors.js";
export type { ParityReport } from "./parity.js";
export { publish, type Published, type PublishOptions } from "./publish.js";
export { type ExportReport, reportOfExport, type RunOptions, runExport } from "./run-export.js";
export { type DeltaReport, type DeltaRunOptions, type DeltaTableReport, runDelta } from "./run-delta.js";
export { EPOCH_ROWS_MAX, PendingRows, type TableRows } from "./pending-rows.js";
export { type AppliedOptions, type AppliedParent, writeApplied } from "./write-applied.js";
export { type FoldOptions, writeFold } from "./write-fold.js";
export { forgetFolded } from "./forget-folded.js";
export { proveFold } from "./prove-fold.js";
export { refuseExported } from "./refuse-exported.js";
