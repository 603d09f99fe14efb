import assert from "node:assert/strict";
import { seededRandom } from "@shardserve/core";
import { tensor } from "@shardserve/tensor";
import { eventually } from "@shardserve/testkit";
import type { ApplyClient } from "./apply-client.js";
import { DRIFTING } from "./drifting-model.js";
import { GrpcClient } from "./grpc.js";

/*
 * A stream of batches whose contents follow from their sequences, so that what rows must be after any number of them is known.
 */

export const DIM = 4;
/** Rows that the tests write to. */
export const IDS = 500;
const BATCH_ROWS = 40;

/** Ids of a source's batch; every element of their rows is the sequence. */
function idsOf(sequence: number, from: number): number[] {
  const random = seededRandom(sequence);
  return Array.from({ length: BATCH_ROWS }, () => from + (random.uint32() % IDS));
}

export function send(client: ApplyClient, sequence: number, from = 0): void {
  client.send(sequence, "table", idsOf(sequence, from), new Float32Array(BATCH_ROWS * DIM).fill(sequence));
}

/** What rows [from, from + IDS) are after the first `count` batches; rows that none of them wrote are left out. */
export function rowsAfter(count: number, from = 0): Map<number, number> {
  const values = new Map<number, number>();
  for (let sequence = 1; sequence <= count; sequence++)
    for (const id of idsOf(sequence, from)) values.set(id, sequence);
  return values;
}

/** Rows [from, from + IDS) as a server answers them, by id. @param grpc  its address */
export async function readRows(grpc: string, from = 0): Promise<Map<number, number>> {
  using client = new GrpcClient(grpc);
  const ids = BigInt64Array.from({ length: IDS }, (_, i) => BigInt(from + i));
  const reply = await client.predict(DRIFTING, "serving_default", new Map([["ids", tensor("int64", [IDS], ids)]]));
  const data = reply.outputs.get("out")?.data as Float32Array;
  return new Map(
    Array.from({ length: IDS }, (_, i) => {
      const row = [...data.subarray(i * DIM, (i + 1) * DIM)];
      assert.ok(
        row.every((value) => value === row[0]),
        `row ${from + i} is torn: ${row.join()}`,
      );
      return [from + i, row[0]!] as const;
    }),
  );
}

export async function until(isSo: () => boolean | Promise<boolean>, what: () => string): Promise<void> {
  await eventually(
    async () => {
      if (!(await isSo())) throw new Error(what());
    },
    { timeoutMs: 60_000, intervalMs: 20 },
  );
}

/** Waits until a batch, and all before it, are acknowledged. @throws AssertionError when the stream fails */
export function acknowledged(client: ApplyClient, sequence: number): Promise<void> {
  return until(
    () => {
      if (client.error) assert.fail(client.error.message);
      return (client.ack?.sequence ?? -1) >= sequence;
    },
    () => `${sequence} is acknowledged; ${JSON.stringify(client.ack)}`,
  );
}
