import type { HoldingRecord } from "@shardserve/registry";

/** True when a shard proved that it can answer an epoch. */
export function answers(holding: HoldingRecord, epoch: number): boolean {
  return epoch <= holding.epoch && epoch >= (holding.oldestEpoch ?? holding.epoch);
}
