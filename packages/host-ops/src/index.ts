export { hostKernels } from "./kernel-table.js";
export { OUTPUT_BYTES_MAX } from "./limits.js";
