export { hostKernels, hostOps } from "./kernel-table.js";
