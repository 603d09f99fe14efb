export { chooseEngine, type EnginePlan, loadModel } from "./load/load-model.js";
export { TrafficPace } from "./load/load-pace.js";
export { loadOnnxModel } from "./onnx/onnx-model.js";
export type { LoadOnnxOptions } from "./onnx/onnx-options.js";
export type * from "./load/options.js";
