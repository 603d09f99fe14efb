export { hostKernels, hostOps } from "./kernel-table.js";
export { OUTPUT_BYTES_MAX } from "./call/limits.js";
