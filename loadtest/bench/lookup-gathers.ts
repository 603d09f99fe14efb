import { join } from "node:path";
import { allocate } from "@shardserve/native";
import { partitionPath, PartitionSet, RowKernel, type StoredManifest } from "@shardserve/rowstore";
import type { Batch } from "./lookup-batches.js";
import { PARTITIONS, ROW_BYTES } from "./lookup-version.js";

type GatherKind = "copy" | "gather" | "located";

/**
 * Gathers inside this process: of the kernel on anonymous memory (copy), on mapped partitions (gather), and from ids to
 * rows (located).
 */
export class Gathers implements AsyncDisposable {
  readonly #rowsPerTable: number;
  readonly #set: PartitionSet;
  readonly #rowCount: number;
  readonly #memory: ReturnType<typeof allocate>;

  private constructor(set: PartitionSet, rowsPerTable: number) {
    this.#set = set;
    this.#rowsPerTable = rowsPerTable;
    this.#rowCount = set.tables.length * rowsPerTable;
    this.#memory = allocate(this.#rowCount * ROW_BYTES);
    this.#memory.bytes.fill(1); // a page that was never written is shared: not what is compared
  }

  /** @param directory  of the version */
  static async open(directory: string, { manifest }: StoredManifest, rowsPerTable: number): Promise<Gathers> {
    const set = new PartitionSet(manifest.tables, PARTITIONS, { syncBytesMax: Number.POSITIVE_INFINITY });
    for (let p = 0; p < PARTITIONS; p++) await set.add(p, join(directory, partitionPath(p)), { verify: false });
    return new Gathers(set, rowsPerTable);
  }

  /** Rows/s of each kind. They take turns, batch by batch. */
  measure(batches: readonly Batch[], durationMs: number): Record<GatherKind, number> {
    const table = RowKernel.table(this.#memory, this.#rowCount, ROW_BYTES);
    const kernel = RowKernel.shared();
    const copied = batches.map((batch) => this.#anonymousIndexes(batch));
    const located = batches.map((batch) => this.#locate(batch, new BigInt64Array(idCount(batch))));
    const count = copied[0]!.length;
    const output = Buffer.allocUnsafeSlow(count * ROW_BYTES);
    const runs: Readonly<Record<GatherKind, (i: number) => void>> = {
      copy: (i) => kernel.gatherSync(table, copied[i]!, 0, count, output),
      gather: (i) => void this.#set.gather(ROW_BYTES, located[i]!, 0, count, output),
      located: (i) => void this.#set.gather(ROW_BYTES, this.#locate(batches[i]!, located[i]!), 0, count, output),
    };
    const kinds = Object.keys(runs) as GatherKind[];
    const spentMs: Record<GatherKind, number> = { copy: 0, gather: 0, located: 0 };
    let rounds = 0;
    const run = (untilMs: number) => {
      for (rounds = 0; performance.now() < untilMs; rounds++) {
        for (let k = 0; k < kinds.length; k++) {
          const kind = kinds[(rounds + k) % kinds.length]!;
          const batch = (rounds * 7 + k * 11) % batches.length; // another one each time: none finds its rows in the cache
          const startMs = performance.now();
          runs[kind](batch);
          spentMs[kind] += performance.now() - startMs;
        }
      }
    };
    run(performance.now() + durationMs / 2);
    for (const kind of kinds) spentMs[kind] = 0;
    run(performance.now() + durationMs * 3);
    table.dispose();
    const rate = (kind: GatherKind) => (rounds * count * 1000) / spentMs[kind];
    return { copy: rate("copy"), gather: rate("gather"), located: rate("located") };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#set.close();
  }

  #anonymousIndexes({ requests }: Batch): BigInt64Array {
    const first = (table: number) => BigInt(table * this.#rowsPerTable);
    return BigInt64Array.from(requests.flatMap(({ table, ids }) => Array.from(ids, (id) => first(table) + id)));
  }

  /** As the shard does it: the ids of all tables lie behind one another, as in a frame. */
  #locate({ requests, lanes }: Batch, indexes: BigInt64Array): BigInt64Array {
    let at = 0;
    for (const { table, ids } of requests) {
      if (this.#set.locate(table, lanes, indexes, at, at, at + ids.length) >= 0) throw new Error("an id was refused");
      at += ids.length;
    }
    return indexes;
  }
}

function idCount({ counts }: Batch): number {
  return counts.reduce((sum, count) => sum + count, 0);
}
