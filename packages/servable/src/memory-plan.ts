import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { invariant, ServingError } from "@shardserve/core";
import { type ServableId, servableIdText } from "./servable-id.js";

/** Bytes of a version by what they are: what loading it maps, keeps and copies. */
export interface MemoryPlan {
  /** saved_model.pb and what else lies beside it: the graph with its constants, an ONNX model and its data. */
  readonly graphBytes: number;
  /** The checkpoint: dense variables and tables that are not split. */
  readonly variableBytes: number;
  /** Partition files and deltas; 0 where other processes hold the rows. */
  readonly rowBytes: number;
  /** Vocabularies and other assets. */
  readonly assetBytes: number;
  /** What the engine makes of the graph and the weights: plans, and copies in the layout of its kernels. 0 = not known yet. */
  readonly engineBytes: number;
}

/** All bytes of a plan. */
export function totalBytes({ graphBytes, variableBytes, rowBytes, assetBytes, engineBytes }: MemoryPlan): number {
  return graphBytes + variableBytes + rowBytes + assetBytes + engineBytes;
}

/**
 * What loading a version directory will need, before anything of it is read: all bytes of the files. What the engine copies is known
 * once the load has planned ({@link LoadOptions.onPlanned}). Not in it: the working memory of runs.
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
  const plan = { graphBytes: 0, variableBytes: 0, rowBytes: 0, assetBytes: 0, engineBytes: 0 };
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
  /**
   * Adds what the engine will need.
   *
   * @throws ServingError MEMORY_LIMIT when that is more than is free; the part stays as it was
   */
  replan(engineBytes: number): void;
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
  /** By version, what a load that failed for it had found out, with the bytes of the files: the next try is refused before it reads them. */
  readonly #foundOut = new Map<string, { readonly fileBytes: number; readonly engineBytes: number }>();

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
  reserve(id: ServableId, files: MemoryPlan): Reservation {
    const name = servableIdText(id);
    const fileBytes = totalBytes(files);
    const known = this.#foundOut.get(name);
    const plan = known?.fileBytes === fileBytes ? { ...files, engineBytes: known.engineBytes } : files;
    this.#assertFree(name, plan, 0);
    this.#foundOut.delete(name);
    const key = {};
    this.#held.set(key, { id, plan, bytes: totalBytes(plan) });
    return {
      replan: (engineBytes) => {
        const held = this.#held.get(key);
        invariant(held, "a reservation that was given back is not replanned");
        const next = { ...files, engineBytes };
        try {
          this.#assertFree(name, next, held.bytes);
        } catch (error) {
          this.#foundOut.set(name, { fileBytes, engineBytes });
          throw error;
        }
        const bytes = totalBytes(next);
        this.#held.set(key, { id, plan: next, bytes });
        if (bytes < held.bytes) this.#onRelease();
      },
      release: () => {
        if (this.#held.delete(key)) this.#onRelease();
      },
    };
  }

  #assertFree(name: string, plan: MemoryPlan, ownBytes: number): void {
    const bytes = totalBytes(plan);
    const freeBytes = this.limitBytes - this.heldBytes + ownBytes;
    if (bytes <= freeBytes) return;
    const { graphBytes, variableBytes, rowBytes, assetBytes, engineBytes } = plan;
    const engine = engineBytes > 0 ? `, engine ${engineBytes}` : "";
    throw new ServingError(
      "MEMORY_LIMIT",
      `${name} needs ${bytes} bytes (graph ${graphBytes}, variables ${variableBytes}, rows ${rowBytes}, assets ` +
        `${assetBytes}${engine}), but of the limit of ${this.limitBytes} only ${freeBytes} are free${this.#holders(name)}; it is loaded ` +
        "when enough become free",
    );
  }

  /** @param name  who asks: what it has itself is no obstacle */
  #holders(name: string): string {
    const others = [...this.#held.values()].filter(({ id }) => servableIdText(id) !== name);
    if (others.length === 0) return "";
    const holders = others.sort((a, b) => b.bytes - a.bytes);
    const shown = holders.slice(0, HOLDERS_SHOWN).map(({ id, bytes }) => `${servableIdText(id)}: ${bytes}`);
    const more = holders.length > HOLDERS_SHOWN ? `, and ${holders.length - HOLDERS_SHOWN} more` : "";
    return ` (held by ${shown.join(", ")}${more})`;
  }
}
