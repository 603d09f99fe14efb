export * from "./attrs.js";
export * from "./host.js";
export * from "./ir.js";
export * from "./op-table.js";
export * from "./plan.js";
