import { ServingError } from "@shardserve/core";
import { type DeltaReport, planDelta, runDelta } from "@shardserve/exporter";
import { hostKernels } from "@shardserve/host-ops";
import { isUri } from "@shardserve/object-store";
import type { Terminal } from "../command.js";
import { deltaToStore } from "../roles/versions/staged-delta.js";
import { amount, table } from "../terminal.js";
import { VERSION } from "../version.js";

const VARIABLES_SHOWN_MAX = 12;

export interface DeltaFlags {
  readonly base: string;
  readonly stagingDir: string;
  readonly parent: number;
  readonly dryRun: boolean;
  readonly savedModelTags: readonly string[];
  readonly json: boolean;
}

/** `shard-export SAVED_MODEL --base=VERSION_DIR`: writes what changed as the version's next epoch. */
export async function exportDelta(source: string, flags: DeltaFlags, terminal: Terminal): Promise<void> {
  const options = { tags: flags.savedModelTags, ...(flags.parent >= 0 && { parent: flags.parent }) };
  const run = async (base: string) => {
    const plan = await planDelta(source, base, options, hostKernels, terminal.signal);
    return runDelta(plan, {
      writer: `shardserve ${VERSION}`,
      isDryRun: flags.dryRun,
      progress: terminal.progress,
      signal: terminal.signal,
    });
  };
  const { base, stagingDir } = flags;
  const report = isUri(base) ? await deltaToStore(base, stagingDir, terminal, run) : await run(base);
  terminal.print(flags.json ? JSON.stringify(report, undefined, 2) : describe(report, flags.dryRun));
}

/** @throws ServingError CONFIG_INVALID: what decides the tables is taken from the base */
export function refuseTableFlags(flags: {
  readonly tables: readonly string[];
  readonly partitions: number;
  readonly rowDtype: string;
}): void {
  if (flags.tables.length === 0 && flags.partitions === 0 && flags.rowDtype === "float32") return;
  throw new ServingError(
    "CONFIG_INVALID",
    "--base: tables, partitions and stored form are those of the base; leave out --tables, --partitions and --row-dtype",
  );
}

function describe(report: DeltaReport, isDryRun: boolean): string {
  const { tables, denseChanged, isGraphChanged, rowsFileBytes, denseBytes, out, epoch, parent, digest } = report;
  const lines = [
    table([
      ["  table", "rows", "changed", "added", "bytes"],
      ...tables.map(({ table: name, rows, changed, added, bytes }) => [
        `  ${name}`,
        rows,
        changed,
        added,
        amount(bytes, "bytes"),
      ]),
    ]),
  ];
  const shown = denseChanged.slice(0, VARIABLES_SHOWN_MAX).join(", ");
  const more =
    denseChanged.length > VARIABLES_SHOWN_MAX ? ` and ${denseChanged.length - VARIABLES_SHOWN_MAX} more` : "";
  lines.push(
    `${denseChanged.length} dense variables changed${denseChanged.length > 0 ? `: ${shown}${more}` : ""}${isGraphChanged ? "; the graph changed" : ""}`,
  );
  const size = `${amount(rowsFileBytes, "bytes")} of rows, ${amount(denseBytes, "bytes")} dense`;
  if (out !== undefined) lines.push(`${out}: epoch ${epoch} after epoch ${parent}, ${size}, digest ${digest}`);
  else if (isDryRun) lines.push(`would be epoch ${epoch} after epoch ${parent}: ${size}`);
  else lines.push(`nothing changed since epoch ${parent}; no delta was written`);
  return lines.join("\n");
}
