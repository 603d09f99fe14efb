export { type Advice, returnFreedMemory } from "./memory/libc.js";
export type { LoadThread } from "./memory/load-thread.js";
export { AddressRange, type MappedFile, mapFile, PAGE_BYTES, reserveAddresses } from "./memory/mapping.js";
export {
  Allocation,
  addressOf,
  adviseHugePages,
  allocate,
  NativeMemory,
} from "./memory/native-memory.js";
export { type OpAttribute, type OpValue, opModel } from "./ort/op-model.js";
export { loadOrt, Ort, type OrtOptions, type SessionOptions } from "./ort/ort.js";
export { ORT_GPU_PROVIDERS, type OrtGpu, type OrtGpuOptions, type OrtGpuProvider } from "./ort/ort-gpu.js";
export { OrtSession, type RunOptions, type ValueInfo } from "./ort/ort-session.js";
export { OrtValue } from "./ort/ort-value.js";
export {
  loadTensorFlow,
  TensorFlow,
  type TensorFlowOptions,
  type TfDevice,
  type TfGpuOptions,
} from "./tensorflow/tf.js";
export type { TfKernel } from "./tensorflow/tf-kernels.js";
export { installedTensorFlow } from "./tensorflow/tf-library.js";
export { TfCallable, type TfOutput, type TfRunOptions, TfSession } from "./tensorflow/tf-session.js";
export { TfTensor } from "./tensorflow/tf-tensor.js";
