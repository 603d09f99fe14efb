import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { PartitionWriterState } from "@shardserve/rowstore";
import { pack, unpack } from "msgpackr";
import type { TableSourceState } from "../source/table-source.js";

/** How far an export is. It is written only after the partition files hold what it says. */
export interface Journal {
  readonly formatVersion: 1;
  /** Of the source and of everything that decides the output's bytes: another digest means another export. */
  readonly exportDigest: string;
  /** Position in the layout's sections: tables before it are complete. */
  readonly section: number;
  /** Within that section. */
  readonly source: TableSourceState;
  /** One per partition. */
  readonly writers: readonly PartitionWriterState[];
}

const NAME = "export.journal";

/**
 * The journal of an earlier run in the same directory, or undefined when there is none that belongs to this export.
 * An unreadable journal counts as none: the export then begins anew, which is always right.
 */
export async function readJournal(dir: string, exportDigest: string): Promise<Journal | undefined> {
  try {
    const journal = unpack(await readFile(join(dir, NAME))) as Journal;
    return journal.formatVersion === 1 && journal.exportDigest === exportDigest ? journal : undefined;
  } catch {
    return undefined;
  }
}

/** Replaces the journal in one step. */
export async function writeJournal(dir: string, journal: Journal): Promise<void> {
  const path = join(dir, NAME);
  await writeFile(`${path}.new`, pack(journal), { flush: true });
  await rename(`${path}.new`, path);
}

export { NAME as JOURNAL_NAME };
