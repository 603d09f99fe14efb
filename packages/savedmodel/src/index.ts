export { type BundleEntry, type BundleIndex, type BundleSlice, type StoredBytes } from "./bundle/bundle-index.js";
export { BundleReader, type FileRange, type StreamOptions } from "./bundle/bundle-reader.js";
export { checksum, maskChecksum } from "./bundle/checksum.js";
export * from "./saved-model.js";
export { objectKeys } from "./object-graph.js";
export * from "./variable-bindings.js";
export { type AddOptions, BundleWriter, type BundleWriterOptions, type TensorSource } from "./bundle/bundle-writer.js";
export { writeSavedModel, type WriteSavedModelOptions } from "./write-saved-model.js";
