import { type MemoryPlan, totalBytes } from "@shardserve/servable";
import { amount } from "../terminal.js";

/** What `--memory-limit-bytes` counts. */
export function memoryText(plan: MemoryPlan): string {
  const parts = [
    `${amount(plan.graphBytes, "bytes")} graph`,
    `${amount(plan.variableBytes, "bytes")} variables`,
    ...(plan.rowBytes > 0 ? [`${amount(plan.rowBytes, "bytes")} rows`] : []),
    ...(plan.assetBytes > 0 ? [`${amount(plan.assetBytes, "bytes")} assets`] : []),
  ];
  return `memory to load it, by its files: ${amount(totalBytes(plan), "bytes")}: ${parts.join(", ")}; what the engine packs is known at load`;
}
