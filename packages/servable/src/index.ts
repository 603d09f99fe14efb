export { LoadedVersion, ServableHandle } from "./handle.js";
export * from "./loader.js";
export * from "./manager.js";
export * from "./model.js";
export * from "./policy.js";
export * from "./servable-id.js";
export type { ServableRequest } from "./serving-map.js";
export * from "./source.js";
export * from "./status.js";
