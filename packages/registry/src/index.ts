export * from "./cluster-keys.js";
export * from "./cluster-records.js";
export * from "./registry.js";
