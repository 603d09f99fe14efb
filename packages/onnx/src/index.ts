export type { Value, Weight, WeightSource } from "./proto/value.js";
export { CHECK_LABEL } from "./proto/emit.js";
export { KERNELS } from "./proto/kernels.js";
export { encodeModel, type FileRange, type OnnxGraph } from "./proto/model-proto.js";
export {
  type CutLookup,
  cutModel,
  declaredType,
  encodeStage,
  type OnnxCut,
  type OnnxStage,
  type OnnxValueType,
  tensorInfo,
} from "./model/model-cut.js";
export { decodeOnnxModel, hasOnnxModel, ONNX_MODEL_FILE, ONNX_SIGNATURE, readOnnxFile } from "./model/model-file.js";
export { tensorsOf } from "./model/model-graph.js";
export { findOnnxTables, type FoundOnnxTable, isExternal } from "./model/model-tables.js";
export { constantBytes, permuteBytesInTurns } from "./lower/arrays/permute.js";
export { deviceSupports, type LoweredSegment, loweringSegment, lowerSegment } from "./segment.js";
export { hoistGathers } from "./model/hoist-gathers.js";
export { EMPTY_LABEL } from "./model/empty-guards.js";
export { RANK_LABEL } from "./model/rank-guards.js";
export { OVERFLOW_LABEL } from "./model/untyped-division.js";
export { hasLoops, servedFile, toServedForm } from "./model/served-form.js";
export { readWithWeightsInPlace } from "./model/weights-in-place.js";
export { openZipMaps } from "./model/zip-maps.js";
export { lowerings } from "./lower/table.js";
