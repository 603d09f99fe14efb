export * from "./dtype.js";
export * from "./strings.js";
export * from "./tensor.js";
