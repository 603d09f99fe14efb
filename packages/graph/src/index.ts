export { type AttrPlaceholder, Attrs, type AttrValue, type FunctionRef, type Shape } from "./ir/attrs.js";
export { type DensePart, denseParts } from "./import/dense-parts.js";
export * from "./ir/host.js";
export { importGraph, type FunctionLibrary, type ImportedGraph } from "./import/import.js";
export { contextOf, infer } from "./infer/infer.js";
export type { Inference } from "./infer/inference.js";
export { deviceIndex } from "./infer/values.js";
export * from "./ir/ir.js";
export {
  importModel,
  importModelInTurns,
  readSignatures,
  type ModelGraph,
  type ModelOptions,
  type Signature,
  type SignatureTensor,
} from "./import/model.js";
export * from "./op-table.js";
export * from "./plan/plan.js";
export { topologicalOrder } from "./ir/program.js";
export { TensorList } from "./ir/tensor-list.js";
export {
  planInitInTurns,
  planSignature,
  planSignatureInTurns,
  type CutPolicy,
  type InitPlanOptions,
  type PlanOptions,
} from "./plan/plan-signature.js";
export { exportNode } from "./import/export.js";
export { composedOps, decompose } from "./passes/rewrites/compositions.js";
export { describedOps } from "./xla/descriptions.js";
export { formatDot } from "./plan/dot.js";
export { openModel, type OpenedModel } from "./import/open-model.js";
export { firstOfEqual } from "./plan/same-computation.js";
export { findTables, type FoundTable } from "./plan/tables.js";
export type { CheckpointTensor } from "./import/variables.js";
export { type RestoreTable, type RestoreVariable, type WholeGraph, wholeGraph } from "./import/whole-graph.js";
export { reportModel, type ModelReport, type ReportedVariable } from "./plan/report.js";
