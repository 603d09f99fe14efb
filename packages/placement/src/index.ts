export * from "./partition-map.js";
