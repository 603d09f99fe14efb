import assert from "node:assert/strict";
import { hash32 } from "./hash32.js";
import type { Random } from "@shardserve/core";
import { attr, GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";
import { bytesOf, type Tensor, tensor } from "@shardserve/tensor";
import { type GrpcReply, predictRequest } from "./grpc.js";

/**
 * A model that changes a little with every delta: out = row + bias, where the bias tells the epoch of the dense part and a row
 * the last epoch that changed it. An answer that mixes epochs, or has a row of another one, is noticed element by element.
 */
export const DRIFTING = "drifting";
const DIM = 4;
const BATCH = 24;
/** One row of this many changes with each epoch. */
const CHANGES_ONE_OF = 40;
/** Rows of the table as exported, and how many come with each epoch. */
const ROWS = 20_000;
const ROWS_ADDED = 50;

export function rowsAt(epoch: number): number {
  return ROWS + ROWS_ADDED * epoch;
}

/** float32 has room for so many epochs beside a row's id, and for so many in the bias. The reply's claim tells the rest. */
const EPOCHS_TOLD_BY_ROW = 64;
const EPOCHS_TOLD_BY_BIAS = 8;

/** The row's value in units of which float32 keeps all: below 2^24 with the bias. */
function rowValue(id: number, epoch: number): number {
  for (let changed = epoch; changed > 0; changed--) {
    if (id >= rowsAt(changed - 1) || hash32(id * 31 + changed) % CHANGES_ONE_OF === 0)
      return id * EPOCHS_TOLD_BY_ROW + (changed % EPOCHS_TOLD_BY_ROW);
  }
  return id * EPOCHS_TOLD_BY_ROW;
}

const biasValue = (epoch: number) => (epoch % EPOCHS_TOLD_BY_BIAS) / EPOCHS_TOLD_BY_BIAS;

/** Writes the SavedModel that the epoch equals. */
export async function writeDrifting(dir: string, epoch: number): Promise<void> {
  const rows = rowsAt(epoch);
  const graph = new GraphBuilder();
  const ids = graph.placeholder("ids", "int64", [-1]);
  const table = graph.variable("table", "float32", [rows, DIM]);
  const bias = graph.variable("bias", "float32", [DIM]);
  const found = graph.gather(table, ids, "float32", "int64");
  const ref = graph.node("BiasAdd", [found, graph.read(bias, "float32")], { attrs: { T: attr.type("float32") } });
  const signature = predictSignature(
    { ids: { ref: ids, dtype: "int64", shape: [-1] } },
    { out: { ref, dtype: "float32", shape: [-1, DIM] } },
  );
  await writeSavedModel(dir, graph.savedModel({ serving_default: signature }), {
    variables: async (writer) => {
      const values = Float32Array.from({ length: rows * DIM }, (_, i) => rowValue(Math.floor(i / DIM), epoch));
      await writer.add("table", "float32", [rows, DIM], bytesOf(values));
      await writer.add("bias", "float32", [DIM], bytesOf(new Float32Array(DIM).fill(biasValue(epoch))));
    },
  });
}

export interface DriftingRequest {
  readonly bytes: Buffer;
  /**
   * The epoch that answered: what the reply claims, or the bias tells where it claims nothing.
   *
   * @throws AssertionError when an element is not of that epoch
   */
  check(reply: GrpcReply): number;
}

export function driftingRequest(random: Random): DriftingRequest {
  const ids = BigInt64Array.from({ length: BATCH }, () => BigInt(random.uint32() % ROWS));
  const inputs = new Map<string, Tensor>([["ids", tensor("int64", [BATCH], ids)]]);
  return {
    bytes: predictRequest(DRIFTING, "serving_default", inputs),
    check({ outputs, epoch: claimed }) {
      const out = outputs.get("out");
      assert.deepEqual(out?.shape, [BATCH, DIM]);
      const values = out.data as Float32Array;
      const epoch = claimed ?? ((values[0] as number) % 1) * EPOCHS_TOLD_BY_BIAS;
      values.forEach((value, i) => {
        const id = Number(ids[Math.floor(i / DIM)]);
        assert.equal(value, rowValue(id, epoch) + biasValue(epoch), `row ${id} in an answer of epoch ${epoch}`);
      });
      return epoch;
    },
  };
}

/** A request for rows that only epochs from `epoch` on have. */
export function addedRowsRequest(epoch: number): DriftingRequest {
  const ids = BigInt64Array.from({ length: ROWS_ADDED }, (_, i) => BigInt(rowsAt(epoch - 1) + i));
  return {
    bytes: predictRequest(DRIFTING, "serving_default", new Map([["ids", tensor("int64", [ROWS_ADDED], ids)]])),
    check({ outputs }) {
      const values = outputs.get("out")?.data as Float32Array;
      values.forEach((value, i) => {
        const id = Number(ids[Math.floor(i / DIM)]);
        assert.equal(value, rowValue(id, epoch) + biasValue(epoch), `row ${id}`);
      });
      return epoch;
    },
  };
}
