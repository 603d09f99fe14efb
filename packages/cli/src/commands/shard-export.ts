import { basename, resolve } from "node:path";
import { ServingError } from "@shardserve/core";
import { optionsOfVersion, planExport, refuseExisting, runExport } from "@shardserve/exporter";
import { hostKernels } from "@shardserve/host-ops";
import { isUri } from "@shardserve/object-store";
import { defineCommand, type Terminal } from "../command.js";
import { flag, type FlagValues } from "../flags.js";
import { MODEL_SOURCE_FLAGS, withModelDirectory } from "../roles/versions/model-directory.js";
import { exportToStore, refuseStored, STAGING_FLAGS } from "../roles/versions/staged-export.js";
import { VERSION } from "../version.js";
import { exportDelta, refuseTableFlags } from "./export-delta.js";
import { printPlan, printReport } from "./export-text.js";

const EXPORT_FLAGS = {
  out: flag.text("version to write, a directory, s3:// or gs://; never overwritten", "DIR|URI", ""),
  base: flag.text(
    "exported version to compare with, a directory, s3:// or gs://: alone, what changed is written as its next epoch; with --out, unchanged partition files are shared with it",
    "DIR|URI",
    "",
  ),
  parent: flag.int("epoch that the new one follows; -1 = the newest", -1, Number.MAX_SAFE_INTEGER, -1),
  dryRun: flag.bool("print the plan with exact bytes; write nothing"),
  tables: flag.list("shard just these tables, by name, checkpoint key or initialiser", "NAMES", []),
  minTableBytes: flag.bytes("smaller tables stay with the dense graph", 16 * 2 ** 20),
  partitions: flag.int("partition count; 0 = by size, a prime of at least 61", 0, 131_071, 0),
  rowDtype: flag.oneOf(
    "how float32 rows are stored; reduced ones pass a parity check first",
    ["float32", "float16", "int8"],
    "float32",
  ),
  savedModelTags: flag.list("tags of the meta graph", "TAGS", ["serve"]),
  json: flag.bool("print the plan or the report as JSON"),
  ...STAGING_FLAGS,
  ...MODEL_SOURCE_FLAGS,
};

type ExportFlags = Readonly<FlagValues<typeof EXPORT_FLAGS>>;

export const shardExport = defineCommand({
  name: "shard-export",
  summary:
    "Splits a SavedModel's or an ONNX model's embedding tables over partition files; the rest stays a dense model",
  usage: "MODEL_DIR --out=BASE/NAME/VERSION | MODEL_DIR --base=BASE/NAME/VERSION",
  examples: [
    "shard-export models/dlrm/1 --out=repository/dlrm/1",
    "shard-export models/dlrm/1 --out=repository/dlrm/1 --dry-run",
    "shard-export models/dlrm/1 --out=repository/dlrm/2 --row-dtype=int8 --min-table-bytes=64MiB",
    "shard-export models/dlrm/2 --base=repository/dlrm/1",
    "shard-export s3://bucket/models/dlrm/3 --out=repository/dlrm/3",
    "shard-export models/dlrm/1 --out=s3://bucket/repository/dlrm/1 --staging-dir=/mnt/disk",
    "shard-export models/dlrm/2 --base=s3://bucket/repository/dlrm/1 --staging-dir=/mnt/disk",
    "shard-export models/dlrm/2 --base=repository/dlrm/1 --out=repository/dlrm/2",
  ],
  flags: EXPORT_FLAGS,
  async run([source, ...rest], flags, terminal) {
    if (source === undefined || rest.length > 0)
      throw new ServingError(
        "CONFIG_INVALID",
        "shard-export: give one SavedModel directory, or one of an ONNX model; see --help",
      );
    if (flags.base !== "") refuseTableFlags(flags);
    if (flags.out === "" && flags.base === "" && !flags.dryRun)
      throw new ServingError("CONFIG_INVALID", "shard-export: --out is required, or --dry-run");
    if (flags.out !== "") refuseUnservedName(flags.out);
    if (flags.base !== "" && flags.out !== "" && (isUri(flags.out) || isUri(flags.base)))
      throw new ServingError(
        "CONFIG_INVALID",
        `--base=${flags.base} with --out=${flags.out}: objects cannot be shared between versions; leave out --base`,
      );
    if (flags.out !== "" && !flags.dryRun)
      await (isUri(flags.out) ? refuseStored(flags.out, flags.stagingDir, terminal) : refuseExisting(flags.out));
    await withModelDirectory(source, flags, terminal, (dir) =>
      flags.base !== "" && flags.out === "" ? exportDelta(dir, flags, terminal) : exportVersion(dir, flags, terminal),
    );
  },
});

async function exportVersion(source: string, flags: ExportFlags, terminal: Terminal): Promise<void> {
  const options = {
    minTableBytes: flags.minTableBytes,
    ...(flags.tables.length > 0 && { tables: flags.tables }),
    ...(flags.partitions > 0 && { partitions: flags.partitions }),
    rowDtype: flags.rowDtype === "float32" ? ("same" as const) : flags.rowDtype,
    ...(flags.base !== "" && (await optionsOfVersion(flags.base))),
    tags: flags.savedModelTags,
  };
  const plan = await planExport(source, options, hostKernels, terminal.signal);
  if (flags.dryRun) return printPlan(plan, flags.json, terminal);
  if (!flags.json) printPlan(plan, false, terminal);
  if (plan.tables.length === 0) {
    throw new ServingError(
      "FAILED_PRECONDITION",
      `${source}: no table is to be sharded (see the plan); serve it with \`shardserve serve\`, or lower --min-table-bytes`,
    );
  }
  const run = (out: string) =>
    runExport(plan, out, {
      writer: `shardserve ${VERSION}`,
      ...(flags.base !== "" && { shareWith: flags.base }),
      progress: terminal.progress,
      logger: terminal.logger,
      signal: terminal.signal,
    });
  const report = isUri(flags.out)
    ? await exportToStore(plan, flags.out, flags.stagingDir, terminal, run)
    : await run(flags.out);
  printReport(report, flags.json, terminal);
}

/** Shards and servers look for numbers: under another name the export would succeed and never be served. */
function refuseUnservedName(out: string): void {
  const name = basename(isUri(out) ? out : resolve(out));
  if (/^\d+$/.test(name) && Number.isSafeInteger(Number(name))) return;
  throw new ServingError("CONFIG_INVALID", `--out=${out}: must end in a version number, as in BASE/NAME/VERSION`);
}
