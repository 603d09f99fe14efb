export * from "./loader.js";
export * from "./model.js";
export * from "./policy.js";
export * from "./servable-id.js";
export * from "./status.js";
