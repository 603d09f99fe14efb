import { join } from "node:path";
import { isServingError, ServingError } from "@shardserve/core";
import type { KernelTable } from "@shardserve/graph";
import {
  CHAIN_LENGTH_MAX,
  epochPath,
  type EpochRef,
  isPartitionPath,
  listEpochs,
  type ManifestFile,
  MANIFEST_FILE,
  newestEpoch,
  readDeltaChain,
  readManifest,
  refOf,
  type StoredDelta,
  type StoredManifest,
  type TableInfo,
  tablesAt,
} from "@shardserve/rowstore";
import { type ExportOptions, type ExportPlan, planExport } from "../export/export-plan.js";

/** What a delta is made against, and what it is made of; decided before rows are compared. */
export interface DeltaPlan {
  readonly versionDir: string;
  readonly base: StoredManifest;
  /** Deltas that lead to the parent. */
  readonly chain: readonly StoredDelta[];
  readonly parent: EpochRef;
  /** Epoch that the delta will be. */
  readonly epoch: number;
  /** What an export of the new model would write. */
  readonly source: ExportPlan;
  /** Tables in the version's order, with the rows that they have in the new model. */
  readonly tables: readonly TableInfo[];
  /** Rows of each table at the parent. */
  readonly parentRows: readonly number[];
}

/** What a delta compares: a MetaGraph by its tags, and the epoch that it follows. */
export interface DeltaOptions {
  readonly tags?: readonly string[];
  /** Epoch that the delta follows; absent = the newest whole one. */
  readonly parent?: number;
}

/**
 * Reads a model and a version directory and decides what a delta between them is made of.
 *
 * @throws ServingError MANIFEST_INVALID when `versionDir` is no exported version; FAILED_PRECONDITION when the tables of the
 *   model are not those of the version; RESOURCE_EXHAUSTED when it has as many deltas as it may; those of planExport and readDeltaChain
 */
export async function planDelta(
  source: string,
  versionDir: string,
  options: DeltaOptions,
  kernels: KernelTable,
  signal?: AbortSignal,
): Promise<DeltaPlan> {
  const base = await readBase(versionDir);
  const epochs = await listEpochs(versionDir);
  const parentEpoch = options.parent ?? (await newestEpoch(versionDir));
  const chain = await readDeltaChain(versionDir, base, parentEpoch);
  if (chain.length >= CHAIN_LENGTH_MAX)
    throw new ServingError(
      "RESOURCE_EXHAUSTED",
      `${versionDir} has ${chain.length} deltas, as many as a version may have; fold old ones (\`shardserve fold\`), or export the version as a whole`,
    );
  const last = chain.at(-1);
  const { manifest } = base;
  if (manifest.tables.length === 0)
    throw new ServingError(
      "FAILED_PRECONDITION",
      `${versionDir} has no sharded table; export the model as a new version`,
    );
  const plan = await planExport(
    source,
    { ...optionsOf(base), ...(options.tags && { tags: options.tags }) },
    kernels,
    signal,
  ).catch((error: unknown) => {
    if (!isServingError(error, "CONFIG_INVALID")) throw error;
    throw new ServingError(
      "FAILED_PRECONDITION",
      `${source} lacks a table of ${versionDir} (${error.message}); export it as a new version`,
      { cause: error },
    );
  });
  const parentTables = tablesAt(manifest.tables, last?.manifest);
  return {
    versionDir,
    base,
    chain,
    parent: last ? refOf(last) : { epoch: 0, digest: base.digest },
    epoch: (epochs.at(-1) ?? 0) + 1,
    source: plan,
    tables: parentTables.map((table) => sameTable(table, plan, versionDir)),
    parentRows: parentTables.map(({ rows }) => rows),
  };
}

/**
 * Options of an export whose partition files can be compared with those of a version.
 *
 * @throws ServingError MANIFEST_INVALID when `versionDir` is no exported version
 */
export async function optionsOfVersion(versionDir: string): Promise<ExportOptions> {
  return optionsOf(await readBase(versionDir));
}

async function readBase(versionDir: string): Promise<StoredManifest> {
  const base = await readManifest(versionDir);
  if (base) return base;
  throw new ServingError(
    "MANIFEST_INVALID",
    `${versionDir} has no ${MANIFEST_FILE}; --base takes a version that shard-export wrote`,
  );
}

function optionsOf({ manifest }: StoredManifest): ExportOptions {
  const { tables, partitionCount } = manifest;
  return {
    tables: tables.map(({ checkpointKey }) => checkpointKey),
    minTableBytes: 0,
    partitions: partitionCount,
    rowDtype: tables.find(({ dtype }) => dtype === "float32")?.rowDtype ?? "same",
  };
}

/** @throws ServingError FAILED_PRECONDITION when rows of the two cannot be compared, or some are gone */
function sameTable(table: TableInfo, plan: ExportPlan, versionDir: string): TableInfo {
  const now = plan.tables.find(({ checkpointKey }) => checkpointKey === table.checkpointKey);
  const refuse = (why: string) =>
    new ServingError(
      "FAILED_PRECONDITION",
      `table ${table.name} of ${versionDir} ${why}; export the model as a new version`,
      {
        details: { table: table.checkpointKey },
      },
    );
  if (!now) throw refuse("is not looked up by the model");
  if (now.dtype !== table.dtype || now.rowBytes !== table.rowBytes || now.rowShape.join() !== table.rowShape.join())
    throw refuse(
      `has rows of ${table.dtype}[${table.rowShape.join()}], the model of ${now.dtype}[${now.rowShape.join()}]`,
    );
  if (now.rows < table.rows)
    throw refuse(`has ${table.rows} rows, the model ${now.rows}: a delta cannot take rows away`);
  return { ...table, rows: now.rows };
}

/** Directory with the dense part of the parent's epoch, and what its files are. */
export function parentDense({ versionDir, base, chain }: DeltaPlan): {
  readonly dir: string;
  readonly files: readonly ManifestFile[];
} {
  const dense = chain.findLast(({ manifest }) => manifest.files.length > 0);
  if (!dense) return { dir: versionDir, files: base.manifest.files.filter(({ path }) => !isPartitionPath(path)) };
  const files = dense.manifest.files.map((file) => ({ ...file, path: file.path.slice("dense/".length) }));
  return { dir: join(versionDir, epochPath(refOf(dense)), "dense"), files };
}
