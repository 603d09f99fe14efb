export { chooseEngine, type EnginePlan, loadModel } from "./load-model.js";
export { TrafficPace } from "./load-pace.js";
export { loadOnnxModel } from "./onnx-model.js";
export type { LoadOnnxOptions } from "./onnx-options.js";
export type * from "./options.js";
