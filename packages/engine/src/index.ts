export { chooseEngine, type EngineModel, type EnginePlan, loadModel } from "./load-model.js";
export * from "./options.js";
