import { join } from "node:path";
import { storedRowBytes, type TableInfo } from "@shardserve/rowstore";
import { BundleReader } from "@shardserve/savedmodel";
import { type Tensor, tensor } from "@shardserve/tensor";
import { REPO_DIR } from "@shardserve/testkit";
import { ShuffledRows } from "./shuffled-rows.js";

export const DLRM_DIR = join(REPO_DIR, "test/fixtures/models/dlrm/1");

/** Every variable of DLRM's `tables`, as a sharded table. */
export async function dlrmRows(): Promise<ShuffledRows> {
  await using reader = await BundleReader.open(join(DLRM_DIR, "variables/variables"));
  const keys = [...reader.entries.keys()].filter((key) => key.startsWith("tables/"));
  const values = await Promise.all(keys.map((key) => reader.read(key) as Promise<Tensor<"float32">>));
  const tables = keys.map((checkpointKey, i): TableInfo => {
    const [rows, dim] = values[i]!.shape as [number, number];
    const rowBytes = storedRowBytes("same", "float32", dim);
    return {
      name: checkpointKey,
      checkpointKey,
      rows,
      rowShape: [dim],
      dim,
      dtype: "float32",
      rowDtype: "same",
      rowBytes,
    };
  });
  return new ShuffledRows(tables, values);
}

export function dlrmInputs(batch: number, id = (i: number) => i % 3): Map<string, Tensor> {
  return new Map<string, Tensor>([
    [
      "dense",
      tensor(
        "float32",
        [batch, 13],
        Float32Array.from({ length: batch * 13 }, (_, i) => Math.sin(i)),
      ),
    ],
    [
      "sparse",
      tensor(
        "int64",
        [batch, 6],
        BigInt64Array.from({ length: batch * 6 }, (_, i) => BigInt(id(i))),
      ),
    ],
  ]);
}
