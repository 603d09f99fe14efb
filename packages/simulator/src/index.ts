export * from "./fan-out.js";
export * from "./report.js";
export * from "./scenarios.js";
export * from "./simulation.js";
export * from "./sizes.js";
export * from "./timeline.js";
