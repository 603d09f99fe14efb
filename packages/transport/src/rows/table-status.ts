import { payloadInvalid } from "../frame/payload-words.js";

/** Status of one table in a ROWS reply. Numbers are part of the wire format. */
export const TABLE_STATUS = {
  OK: 0,
  TABLE_NOT_FOUND: 1,
  PARTITION_NOT_OWNED: 2,
  ROW_OUT_OF_RANGE: 3,
} as const;

const STATUS_CODES = ["OK", "TABLE_NOT_FOUND", "PARTITION_NOT_OWNED", "ROW_OUT_OF_RANGE"] as const;

export const TABLE_STATUS_COUNT = STATUS_CODES.length;

/** The error code of a table's status other than OK. */
export function statusCode(status: number): "TABLE_NOT_FOUND" | "PARTITION_NOT_OWNED" | "ROW_OUT_OF_RANGE" {
  const code = STATUS_CODES[status];
  if (code === undefined || code === "OK") throw payloadInvalid("a rows frame", `${status} is no table status`);
  return code;
}
