export { loadModel } from "./load-model.js";
export type { EngineLimits, LoadModelOptions } from "./options.js";
