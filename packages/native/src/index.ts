export type { Advice } from "./libc.js";
export { AddressRange, type MappedFile, mapFile, PAGE_BYTES, reserveAddresses } from "./mapping.js";
export { Allocation, addressOf, allocate, NativeMemory, VIEW_BYTES_MAX } from "./native-memory.js";
export { type OpAttribute, type OpValue, opModel } from "./op-model.js";
export { loadOrt, Ort, type OrtOptions, type SessionOptions } from "./ort.js";
export { bundledLibraryPath } from "./ort-library.js";
export { ORT_CODES } from "./ort-runtime.js";
export { OrtSession, type RunOptions, type ValueInfo } from "./ort-session.js";
export { dtypeFromOnnx, OrtValue } from "./ort-value.js";
