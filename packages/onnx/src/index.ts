export { numbers, OnnxBuilder, type Value, type Weight, type WeightSource } from "./builder.js";
export { CHECK_LABEL } from "./emit.js";
export { encodeModel, type FileRange, ONNX_OPSET, type OnnxGraph } from "./model-proto.js";
export {
  type CutLookup,
  cutModel,
  declaredType,
  encodeStage,
  type OnnxCut,
  type OnnxStage,
  type OnnxValueType,
  tensorInfo,
} from "./model-cut.js";
export { decodeOnnxModel, hasOnnxModel, ONNX_MODEL_FILE, ONNX_SIGNATURE, readOnnxFile } from "./model-file.js";
export { tensorsOf } from "./model-graph.js";
export { findOnnxTables, type FoundOnnxTable, isExternal } from "./model-tables.js";
export { permuteBytes, permuteBytesInTurns } from "./permute.js";
export { deviceSupports, type LoweredSegment, lowerSegment } from "./segment.js";
export { openZipMaps, withoutZipMaps } from "./zip-maps.js";
export { lowerings } from "./table.js";
