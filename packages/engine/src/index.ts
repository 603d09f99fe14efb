export { type EngineModel, loadModel } from "./load-model.js";
export * from "./options.js";
