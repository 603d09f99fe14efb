export { hashPoint, KEY_HASH, mix64, mix64Mod } from "./hash.js";
export * from "./moves.js";
export {
  fromPlainMap,
  isSamePlacement,
  loadOf,
  PARTITION_COUNT_MAX,
  type PartitionMap,
  partitionsOf,
  type PlainPartitionMap,
  replicasOf,
  toPlainMap,
  unionLoads,
} from "./partition-map.js";
export * from "./place.js";
export { type Demand, LOAD_FACTOR, type Quotas, quotas } from "./quota.js";
export type { PlacementShard } from "./quota.js";
