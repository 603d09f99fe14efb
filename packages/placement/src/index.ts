export { hashPoint, KEY_HASH, mix64, mix64Mod } from "./hash.js";
export * from "./moves.js";
export * from "./partition-map.js";
export * from "./place.js";
export { type Demand, type Quotas, quotas } from "./quota.js";
export type { PlacementShard } from "./quota.js";
