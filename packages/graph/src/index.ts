export * from "./attrs.js";
export { type DensePart, denseParts } from "./dense-parts.js";
export * from "./host.js";
export { importGraph, parseRef, type FunctionLibrary, type ImportedGraph } from "./import.js";
export { contextOf, infer, type Inference } from "./infer/infer.js";
export { sliceAxes, sliceRange, type SliceAxis, type SliceSpec } from "./infer/strided-slice.js";
export * from "./ir.js";
export {
  importModel,
  importModelInTurns,
  INIT_SIGNATURE,
  readSignatures,
  type ModelGraph,
  type ModelOptions,
  type Signature,
  type SignatureTensor,
} from "./model.js";
export * from "./op-table.js";
export * from "./plan.js";
export { topologicalOrder } from "./program.js";
export { TensorList } from "./tensor-list.js";
export {
  planInit,
  planSignature,
  planSignatureInTurns,
  type CutPolicy,
  type InitPlanOptions,
  type PlanOptions,
} from "./plan-signature.js";
export { exportNode } from "./export.js";
export { FOLD_BYTES_MAX } from "./fold.js";
export { formatDot } from "./dot.js";
export { openModel, type OpenedModel } from "./open-model.js";
export { findTables, type FoundTable } from "./tables.js";
export type { CheckpointTensor } from "./variables.js";
export { type RestoreTable, type RestoreVariable, type WholeGraph, wholeGraph } from "./whole-graph.js";
export { formatPlan, formatType, reportModel, type ModelReport, type ReportedVariable } from "./report.js";
