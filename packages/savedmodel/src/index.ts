export { type BundleEntry, type BundleIndex, type BundleSlice, type StoredBytes } from "./bundle/bundle-index.js";
export { BundleReader, type FileRange, type StreamOptions } from "./bundle/bundle-reader.js";
export * from "./saved-model.js";
export { fullNames } from "./object-graph.js";
export * from "./variable-bindings.js";
