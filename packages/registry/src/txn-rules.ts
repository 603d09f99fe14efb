import { ServingError } from "@shardserve/core";
import type { Compare } from "./registry.js";

/** etcd's own limits (--max-txn-ops, --max-request-bytes), held by every implementation so that none allows more. */
const TXN_OPERATIONS_MAX = 128;
/** Largest transaction, keys and values together, in bytes: etcd refuses requests above 1.5 MiB. */
const TXN_BYTES_MAX = 1_400_000;

interface Operation {
  readonly put?: string;
  readonly delete?: string;
  readonly value?: Uint8Array;
}

/** @throws ServingError INVALID_ARGUMENT when etcd would refuse the transaction whatever the state */
export function checkTxn(compares: readonly Compare[], operations: readonly Operation[]): void {
  const keys = operations.map((operation) => operation.put ?? operation.delete ?? "");
  const bytes = operations.reduce((sum, { value }) => sum + (value?.byteLength ?? 0), 0);
  const refuse = (rule: string): never => {
    throw new ServingError("INVALID_ARGUMENT", `registry transaction on ${keys.slice(0, 4).join(", ")}: ${rule}`);
  };
  if (compares.length > TXN_OPERATIONS_MAX || operations.length > TXN_OPERATIONS_MAX) {
    refuse(`${compares.length} compares and ${operations.length} operations; at most ${TXN_OPERATIONS_MAX} each`);
  }
  if (keys.includes("")) refuse("a key is empty");
  if (new Set(keys).size !== keys.length) refuse("a key is written twice");
  if (bytes > TXN_BYTES_MAX) refuse(`${bytes} bytes of values; at most ${TXN_BYTES_MAX}`);
}
