export { numbers, OnnxBuilder, type Value, type Weight, type WeightSource } from "./builder.js";
export { CHECK_LABEL } from "./emit.js";
export { encodeModel, type FileRange, ONNX_OPSET, type OnnxGraph } from "./model-proto.js";
export { permuteBytes } from "./permute.js";
export { deviceSupports, type LoweredSegment, lowerSegment } from "./segment.js";
export { lowerings } from "./table.js";
