export * from "./dtype.js";
export * from "./strings.js";
export * from "./tensor.js";
export * from "./tensor-proto.js";
export * from "./wire-reader.js";
