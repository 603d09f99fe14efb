export * from "./dtype.js";
export { bfloatToNumber, halfToNumber, numberToBfloat, numberToHalf } from "./half.js";
export { zeroedArray } from "./small-data.js";
export * from "./strings.js";
export * from "./tensor.js";
export { decodeRepeatedField, decodeTensorProto, type DecodeTensorOptions } from "./tensor-proto-decode.js";
export { encodeRepeatedField, encodeTensorProto, type EncodeTensorOptions } from "./tensor-proto-encode.js";
export * from "./wire-fields.js";
export * from "./wire-reader.js";
