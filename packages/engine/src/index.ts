export { chooseEngine, type EngineModel, type EnginePlan, loadModel } from "./load-model.js";
export { hasOnnxModel, loadOnnxModel, type LoadOnnxOptions } from "./onnx-model.js";
export type * from "./options.js";
