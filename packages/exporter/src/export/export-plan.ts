import { invariant, ServingError } from "@shardserve/core";
import { type FoundTable, findTables, type KernelTable, openModel } from "@shardserve/graph";
import { hasOnnxModel } from "@shardserve/onnx";
import {
  choosePartitionCount,
  digestHex,
  isTableDType,
  type ManifestLookup,
  type PartitionLayout,
  partitionLayout,
  type RowDType,
  storedRowBytes,
  type TableInfo,
} from "@shardserve/rowstore";
import type { BundleEntry, SavedModel } from "@shardserve/savedmodel";
import { DTYPES, elementCount, isNumeric } from "@shardserve/tensor";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExportSource } from "../source/export-source.js";
import { OnnxSource } from "../source/onnx-source.js";
import { refuseExported } from "../source/refuse-exported.js";
import { SavedModelSource } from "../source/saved-model-source.js";
import { variablesRead } from "../source/variables-read.js";

/** What is sharded, and into how many partitions. */
export interface ExportOptions {
  /** Tags of the meta graph whose lookups decide; default ["serve"]. */
  readonly tags?: readonly string[];
  /** Names or checkpoint keys of the tables to shard; default all that are looked up and not small. */
  readonly tables?: readonly string[];
  /** Looked-up variables below this size stay with the dense graph. */
  readonly minTableBytes: number;
  /** Partition count; default by size (`choosePartitionCount`). */
  readonly partitions?: number;
  /** How float32 rows are stored. */
  readonly rowDtype: RowDType;
}

/** A variable or initialiser that stays in the dense remainder, or is left out. */
export interface DenseVariable {
  readonly checkpointKey: string;
  readonly bytes: number;
  readonly why: string;
}

/** Everything that an export decides before it writes; `--dry-run` prints it. */
export interface ExportPlan {
  readonly source: ExportSource;
  readonly tables: readonly TableInfo[];
  readonly lookups: readonly ManifestLookup[];
  readonly layout: PartitionLayout;
  /** Variables that the dense remainder keeps. */
  readonly dense: readonly DenseVariable[];
  /** Variables that no signature reads (optimizer slots and the like): left out. */
  readonly unused: readonly DenseVariable[];
  /** Identifies the model's content: its graph and all its tensors. */
  readonly sourceDigest: string;
}

/** A shard's share when `shardCount` shards hold one replica of everything. */
export interface ShardShare {
  readonly shardCount: number;
  readonly bytesPerShardMax: number;
}

/**
 * Reads a model directory and decides what an export of it writes.
 *
 * @param kernels  host kernels, for folding constants while lookups are found
 * @throws ServingError SAVED_MODEL_INVALID, CHECKPOINT_INVALID, GRAPH_INVALID; CONFIG_INVALID for a name that is no table
 */
export async function planExport(
  dir: string,
  options: ExportOptions,
  kernels: KernelTable,
  signal?: AbortSignal,
): Promise<ExportPlan> {
  await refuseExported(dir);
  return (await hasOnnxModel(dir)) ? planOnnx(dir, options, signal) : planSavedModel(dir, options, kernels, signal);
}

async function planSavedModel(
  dir: string,
  options: ExportOptions,
  kernels: KernelTable,
  signal: AbortSignal | undefined,
): Promise<ExportPlan> {
  await using opened = await openModel(dir, { tags: options.tags, signal });
  const { savedModel, bundle, bindings, model } = opened;
  if (!bundle) {
    throw new ServingError(
      "SAVED_MODEL_INVALID",
      `${dir} has no variables/variables.index: there is nothing to shard; serve it as it is`,
    );
  }
  const { tables, whole } = findTables(model, kernels);
  const decided = decide(tables, options);
  const read = variablesRead(model, bindings);
  const rest = [...bundle.entries.values()].filter((entry) => !decided.sharded.has(entry.key));
  return {
    ...decided.plan,
    source: new SavedModelSource(savedModel),
    dense: rest
      .filter((entry) => isKept(entry, read))
      .map((entry) => described(entry, decided.reasons.get(entry.key) ?? whole.get(entry.key) ?? "not looked up")),
    unused: rest.filter((entry) => !isKept(entry, read)).map((entry) => described(entry, "no signature reads it")),
    sourceDigest: await digestOfSource(savedModel),
  };
}

async function planOnnx(dir: string, options: ExportOptions, signal: AbortSignal | undefined): Promise<ExportPlan> {
  const source = await OnnxSource.open(dir, signal);
  const { plan, sharded, reasons } = decide(source.tables, options);
  const rest = source.initialisers.filter(({ name }) => !sharded.has(name));
  return {
    ...plan,
    source,
    dense: rest.map(({ name, bytes, why }) => ({ checkpointKey: name, bytes, why: reasons.get(name) ?? why })),
    unused: [],
    sourceDigest: source.digest,
  };
}

/** What the tables of any model decide. */
function decide(
  found: readonly FoundTable[],
  options: ExportOptions,
): {
  readonly plan: Pick<ExportPlan, "tables" | "lookups" | "layout">;
  /** Checkpoint keys. */
  readonly sharded: ReadonlySet<string>;
  /** Why a table stays whole, by checkpoint key. */
  readonly reasons: ReadonlyMap<string, string | undefined>;
} {
  const chosen = choose(found, options);
  const tables = found.flatMap((table) =>
    chosen.get(table) === undefined ? toTableInfo(table, options.rowDtype) : [],
  );
  const indexes = new Map(tables.map((table, i) => [table.checkpointKey, i]));
  const bytes = tables.reduce((sum, table) => sum + table.rows * table.rowBytes, 0);
  const lookups = found.flatMap((table) => {
    const index = indexes.get(table.checkpointKey);
    return index === undefined ? [] : table.lookups.map(({ signature, node }) => ({ signature, node, table: index }));
  });
  return {
    plan: { tables, lookups, layout: partitionLayout(tables, options.partitions ?? choosePartitionCount(bytes)) },
    sharded: new Set(indexes.keys()),
    reasons: new Map([...chosen].map(([table, why]) => [table.checkpointKey, why])),
  };
}

/** Bytes of the fullest shard for some shard counts, before replication. */
export function shardShares(plan: ExportPlan, shardCounts: readonly number[]): ShardShare[] {
  const { partitionCount, fileBytes } = plan.layout;
  return shardCounts
    .filter((shardCount) => shardCount <= partitionCount)
    .map((shardCount) => ({ shardCount, bytesPerShardMax: Math.ceil(partitionCount / shardCount) * fileBytes }));
}

/** @returns per table why it is not sharded; undefined = sharded */
function choose(found: readonly FoundTable[], options: ExportOptions): Map<FoundTable, string | undefined> {
  const named = options.tables && new Set(options.tables);
  for (const name of named ?? []) {
    const table = found.find((candidate) => candidate.name === name || candidate.checkpointKey === name);
    const known = found.filter((candidate) => candidate.shardable === true).map((candidate) => candidate.name);
    if (!table) {
      throw new ServingError(
        "CONFIG_INVALID",
        `--tables: no lookup reads "${name}"; tables are ${known.join(", ") || "none"}`,
      );
    }
    if (table.shardable !== true)
      throw new ServingError("CONFIG_INVALID", `--tables: "${name}" cannot be sharded: ${table.shardable}`);
  }
  return new Map(
    found.map((table) => {
      if (table.shardable !== true) return [table, table.shardable];
      if (named)
        return [table, named.has(table.name) || named.has(table.checkpointKey) ? undefined : "not named in --tables"];
      return [table, table.bytes < options.minTableBytes ? `smaller than ${options.minTableBytes} bytes` : undefined];
    }),
  );
}

function toTableInfo(table: FoundTable, wanted: RowDType): TableInfo {
  const { name, checkpointKey, rows, rowShape, dtype } = table;
  invariant(isTableDType(dtype), `table ${name} of ${dtype}`); // the compiler finds lookups of numeric variables only
  const rowDtype = dtype === "float32" ? wanted : "same";
  const dim = elementCount(rowShape);
  return { name, checkpointKey, rows, rowShape, dim, dtype, rowDtype, rowBytes: storedRowBytes(rowDtype, dtype, dim) };
}

/** The object graph is kept for tools; everything else only where serving reads it. */
function isKept(entry: BundleEntry, read: ReadonlySet<string>): boolean {
  return read.has(entry.key) || entry.key === "_CHECKPOINTABLE_OBJECT_GRAPH";
}

function described(entry: BundleEntry, why: string): DenseVariable {
  const bytes = isNumeric(entry.dtype) ? elementCount(entry.shape) * DTYPES[entry.dtype].bytes : entry.size;
  return { checkpointKey: entry.key, bytes, why };
}

/** The index holds the checksum of every tensor, so graph and index together identify all content. */
async function digestOfSource(savedModel: SavedModel): Promise<string> {
  const graph = await readFile(join(savedModel.dir, "saved_model.pb"));
  const index = await readFile(`${savedModel.variablesPrefix!}.index`);
  return digestHex(Buffer.from(digestHex(graph) + digestHex(index)));
}
