export { type BundleEntry, type BundleIndex, type BundleSlice, type StoredBytes } from "./bundle/bundle-index.js";
export { BundleReader, type FileRange, type StreamOptions } from "./bundle/bundle-reader.js";
export { calledFunctions } from "./called-functions.js";
export { checksum, maskChecksum } from "./bundle/checksum.js";
export {
  type Asset,
  assets,
  initOp,
  type ReadOptions,
  readSavedModel,
  restoreOp,
  type SavedModel,
  selectMetaGraph,
  tagSets,
} from "./saved-model.js";
export { objectKeys } from "./object-graph.js";
export * from "./variable-bindings.js";
export { type AddOptions, BundleWriter, type BundleWriterOptions, type TensorSource } from "./bundle/bundle-writer.js";
export { writeSavedModel, type WriteSavedModelOptions } from "./write-saved-model.js";
export { attr } from "./authoring/attributes.js";
export { GraphBuilder, type NodeOptions, predictSignature, type SignatureTensor } from "./authoring/graph-builder.js";
export * from "./stablehlo/ir.js";
export { readStableHlo } from "./stablehlo/module-reader.js";
