import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { ServingError } from "@shardserve/core";
import { type ServableId, servableIdText } from "./servable-id.js";

/** Bytes of a version by what they are: what loading it maps or reads, by the sizes of its files. */
export interface MemoryPlan {
  /** saved_model.pb and what else lies beside it: the graph with its constants, an ONNX model and its data. */
  readonly graphBytes: number;
  /** The checkpoint: dense variables and tables that are not split. */
  readonly variableBytes: number;
  /** Partition files and deltas; 0 where other processes hold the rows. */
  readonly rowBytes: number;
  /** Vocabularies and other assets. */
  readonly assetBytes: number;
}

export function totalBytes({ graphBytes, variableBytes, rowBytes, assetBytes }: MemoryPlan): number {
  return graphBytes + variableBytes + rowBytes + assetBytes;
}

/**
 * What loading a version directory will need, before anything of it is read. Exact for what is mapped or kept: all bytes of the
 * files. Not in it: copies of dense weights that an engine packs for its kernels, and the working memory of runs.
 *
 * @param options.areRowsElsewhere  partition files stay with shards; default false
 * @throws ServingError NOT_FOUND when there is no such directory
 */
export async function planMemory(
  dir: string,
  { areRowsElsewhere = false }: { readonly areRowsElsewhere?: boolean } = {},
): Promise<MemoryPlan> {
  let entries: Dirent[];
  try {
    entries = await readdir(dir, { withFileTypes: true, recursive: true });
  } catch (error) {
    throw new ServingError("NOT_FOUND", `cannot list the version directory ${dir}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const files: { path: string; bytes: number }[] = [];
  for (const entry of entries) {
    if (entry.isDirectory()) continue;
    const path = join(entry.parentPath, entry.name);
    files.push({ path: relative(dir, path).replaceAll("\\", "/"), bytes: (await stat(path)).size });
  }
  return memoryPlanOf(files, { areRowsElsewhere });
}

/**
 * As {@link planMemory}, by the names and sizes of a version's files.
 *
 * @param files  paths relative to the version, with "/" between folders
 */
export function memoryPlanOf(
  files: readonly { readonly path: string; readonly bytes: number }[],
  { areRowsElsewhere = false }: { readonly areRowsElsewhere?: boolean } = {},
): MemoryPlan {
  const plan = { graphBytes: 0, variableBytes: 0, rowBytes: 0, assetBytes: 0 };
  for (const { path, bytes } of files) {
    const part = path.includes("/") ? PART_OF[path.slice(0, path.indexOf("/"))] : "graphBytes";
    if (part && !(part === "rowBytes" && areRowsElsewhere)) plan[part] += bytes;
  }
  return plan;
}

/** What lies in the folders of a version; others are not loaded. */
const PART_OF: Readonly<Record<string, keyof MemoryPlan>> = {
  variables: "variableBytes",
  assets: "assetBytes",
  partitions: "rowBytes",
  deltas: "rowBytes",
};

/** A part of the budget that one version holds. */
export interface Reservation {
  /** Gives it back; a second call does nothing. */
  release(): void;
}

/** What the versions of a process hold together. */
export interface MemoryState {
  /** Infinity = no limit. */
  readonly limitBytes: number;
  readonly heldBytes: number;
  readonly versions: readonly { readonly id: ServableId; readonly plan: MemoryPlan }[];
}

/** How many versions an error names as holders. */
const HOLDERS_SHOWN = 5;

/** Memory that the versions of one process may need together, reserved before each load by its plan. */
export class MemoryBudget {
  readonly limitBytes: number;
  readonly #held = new Map<object, { readonly id: ServableId; readonly plan: MemoryPlan; readonly bytes: number }>();
  readonly #onRelease: () => void;

  /** @param onRelease  called when bytes become free */
  constructor(limitBytes: number, onRelease: () => void) {
    this.limitBytes = limitBytes;
    this.#onRelease = onRelease;
  }

  get heldBytes(): number {
    let total = 0;
    for (const { bytes } of this.#held.values()) total += bytes;
    return total;
  }

  get state(): MemoryState {
    const versions = [...this.#held.values()].map(({ id, plan }) => ({ id, plan }));
    return { limitBytes: this.limitBytes, heldBytes: this.heldBytes, versions };
  }

  /** @throws ServingError MEMORY_LIMIT with the numbers, and who holds the rest */
  reserve(id: ServableId, plan: MemoryPlan): Reservation {
    const bytes = totalBytes(plan);
    const { heldBytes, limitBytes } = this;
    if (heldBytes + bytes > limitBytes) {
      throw new ServingError(
        "MEMORY_LIMIT",
        `${servableIdText(id)} needs ${bytes} bytes (graph ${plan.graphBytes}, variables ${plan.variableBytes}, rows ` +
          `${plan.rowBytes}, assets ${plan.assetBytes}), but of the limit of ${limitBytes} only ` +
          `${limitBytes - heldBytes} are free${this.#holders()}; it is loaded when enough become free`,
      );
    }
    const key = {};
    this.#held.set(key, { id, plan, bytes });
    return {
      release: () => {
        if (this.#held.delete(key)) this.#onRelease();
      },
    };
  }

  #holders(): string {
    if (this.#held.size === 0) return "";
    const holders = [...this.#held.values()].sort((a, b) => b.bytes - a.bytes);
    const shown = holders.slice(0, HOLDERS_SHOWN).map(({ id, bytes }) => `${servableIdText(id)}: ${bytes}`);
    const more = holders.length > HOLDERS_SHOWN ? `, and ${holders.length - HOLDERS_SHOWN} more` : "";
    return ` (held by ${shown.join(", ")}${more})`;
  }
}
