import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, type Logger, Service, silentLogger, sleep, systemClock } from "@shardserve/core";
import type { AspiredSet, AspiredVersion } from "./servable-id.js";

/** Which of the versions found are wanted (FileSystemStoragePathSourceConfig.ServableVersionPolicy). */
export type VersionPolicy =
  | { readonly kind: "latest" /** at least 1; 0 counts as 1 */; readonly count: number }
  | { readonly kind: "all" }
  | { readonly kind: "specific"; readonly versions: readonly number[] };

/** A name with its base path (FileSystemStoragePathSourceConfig.ServableToMonitor). */
export interface ServableToMonitor {
  readonly name: string;
  /** Directory whose numeric children are versions; or a URI, see {@link RemotePlaces}. */
  readonly basePath: string;
  /** Default: the one latest version. */
  readonly versionPolicy?: VersionPolicy;
}

/** Base paths that are no paths of this machine. */
export interface RemotePlaces {
  /** Whether a base path is one of them. */
  isRemote(basePath: string): boolean;
  /** Names of the folders right below one. @throws when it cannot be listed */
  folders(basePath: string): Promise<readonly string[]>;
  /** What the loader is told as the path of a folder. */
  child(basePath: string, folder: string): string;
  /** Pause between looks: a list over the network costs time, and often money. */
  readonly pollIntervalMs: number;
}

/** For {@link FileSystemSource}. */
export interface FileSystemSourceOptions {
  readonly servables: readonly ServableToMonitor[];
  /** Receives the full set wanted for a name, every time it is looked up. */
  readonly onAspired: (name: string, versions: AspiredSet) => void;
  /** Pause between polls, default 1000 (--file_system_poll_wait_seconds); 0 = look once. */
  readonly pollIntervalMs?: number;
  /** Absent = every base path is a directory. */
  readonly remote?: RemotePlaces | undefined;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/**
 * Watches base paths and says which versions are wanted.
 *
 * Differs from TensorFlow Serving in one point: a base path that is missing leaves only its own model as it is, not all
 * of them (their issues 2189, 1693).
 */
export class FileSystemSource extends Service {
  readonly #onAspired: FileSystemSourceOptions["onAspired"];
  readonly #pollIntervalMs: number;
  readonly #remote: RemotePlaces | undefined;
  /** When a remote base path may be looked at again, by name. */
  readonly #restUntilMs = new Map<string, number>();
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #warned = new Map<string, string>();
  readonly #problems = new Map<string, string>();
  readonly #stop = new AbortController();
  #servables: readonly ServableToMonitor[];
  #polling: Promise<void> = Promise.resolve();

  constructor(options: FileSystemSourceOptions) {
    super();
    this.#servables = options.servables;
    this.#onAspired = options.onAspired;
    this.#pollIntervalMs = options.pollIntervalMs ?? 1000;
    this.#remote = options.remote;
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
  }

  /** Replaces what is watched, and looks at once. A name left out gets an empty set: all its versions are unloaded. */
  async setServables(servables: readonly ServableToMonitor[]): Promise<void> {
    const names = new Set(servables.map((servable) => servable.name));
    const dropped = this.#servables.filter((servable) => !names.has(servable.name));
    this.#servables = servables;
    this.#restUntilMs.clear();
    for (const servable of dropped) {
      this.#problems.delete(servable.name);
      this.#onAspired(servable.name, []);
    }
    await this.poll();
  }

  /** Why nothing is aspired for a name, as of the last look; undefined when something is. */
  problemOf(name: string): string | undefined {
    return this.#problems.get(name);
  }

  /** Looks at every base path once. Never throws: what is wrong with one path is logged, once. */
  async poll(): Promise<void> {
    for (const servable of this.#servables) {
      try {
        if (this.#isResting(servable)) continue;
        const found = await this.#listVersions(servable.basePath);
        if (!this.#servables.includes(servable)) continue; // dropped meanwhile: it must not come back
        this.#onAspired(servable.name, this.#select(servable, found));
      } catch (error) {
        this.#noteProblem(
          servable.name,
          `Could not find base path ${servable.basePath} for servable ${servable.name} with error ${(error as Error).message}`,
        );
      }
    }
  }

  protected override async onStart(): Promise<void> {
    await this.poll();
    if (this.#pollIntervalMs > 0) this.#polling = this.#loop();
  }

  protected override async onDrain(): Promise<void> {}

  protected override async onClose(): Promise<void> {
    this.#stop.abort(new Error("the source is closed"));
    await this.#polling;
  }

  async #loop(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await sleep(this.#clock, this.#pollIntervalMs, signal).catch(() => undefined); // only an abort ends a sleep early
      if (!signal.aborted) await this.poll();
    }
  }

  /** Notes the look, too. */
  #isResting({ name, basePath }: ServableToMonitor): boolean {
    if (!this.#remote?.isRemote(basePath)) return false;
    const nowMs = this.#clock.nowMs();
    if (nowMs < (this.#restUntilMs.get(name) ?? Number.NEGATIVE_INFINITY)) return true;
    this.#restUntilMs.set(name, nowMs + this.#remote.pollIntervalMs);
    return false;
  }

  async #listVersions(basePath: string): Promise<Found> {
    const remote = this.#remote?.isRemote(basePath) ? this.#remote : undefined;
    if (!remote) return versionsAmong(await directories(basePath), (name) => join(basePath, name));
    return versionsAmong(await remote.folders(basePath), (name) => remote.child(basePath, name));
  }

  #select(servable: ServableToMonitor, found: Found): AspiredSet {
    const { name, basePath } = servable;
    if (found.skipped.length > 0) {
      this.#warnOnce(`${name} skipped`, `servable ${name}: skipped in ${basePath}: ${found.skipped.join("; ")}`);
    }
    if (found.versions.length === 0) {
      this.#noteProblem(
        name,
        `No versions of servable ${name} found under base path ${basePath}. ` +
          "Did you forget to name your leaf directory as a number (eg. '/1/')?",
      );
      return [];
    }
    const policy = servable.versionPolicy ?? { kind: "latest", count: 1 };
    const selected = selectVersions(found.versions, policy);
    this.#noteAbsent(servable, policy, selected);
    if (selected.length === 0) {
      this.#noteProblem(name, `No versions of servable ${name} under base path ${basePath} match its version policy`);
    } else {
      this.#warned.delete(name);
      this.#problems.delete(name);
    }
    return selected;
  }

  /** Says which versions a policy names in vain. */
  #noteAbsent({ name, basePath }: ServableToMonitor, policy: VersionPolicy, selected: AspiredSet): void {
    if (policy.kind !== "specific") return;
    const absent = policy.versions.filter((version) => !selected.some((entry) => entry.version === version));
    const versions = absent.length === 1 ? `version ${absent[0]}` : `versions ${absent.join(", ")}`;
    if (absent.length === 0) this.#warned.delete(`${name} absent`);
    else this.#warnOnce(`${name} absent`, `servable ${name}: ${versions} of its policy not found in ${basePath}`);
  }

  #noteProblem(name: string, message: string): void {
    this.#problems.set(name, message);
    this.#warnOnce(name, message);
  }

  #warnOnce(key: string, message: string): void {
    if (this.#warned.get(key) === message) return;
    this.#warned.set(key, message);
    this.#logger.warn({}, message);
  }
}

/** The versions that a policy wants, out of those found; highest first. */
export function selectVersions(found: readonly AspiredVersion[], policy: VersionPolicy): AspiredSet {
  const sorted = [...found].sort((a, b) => b.version - a.version);
  switch (policy.kind) {
    case "latest":
      return sorted.slice(0, Math.max(policy.count, 1));
    case "all":
      return sorted;
    case "specific":
      return sorted.filter((entry) => policy.versions.includes(entry.version));
  }
}

interface Found {
  readonly versions: readonly AspiredVersion[];
  readonly skipped: readonly string[];
}

/** Those whose names are numbers; "00000123" is version 123. */
function versionsAmong(names: readonly string[], pathOf: (name: string) => string): Found {
  const byVersion = new Map<number, string>();
  const skipped: string[] = [];
  for (const name of names.filter((text) => /^\d+$/.test(text)).sort()) {
    const version = Number(name);
    if (!Number.isSafeInteger(version)) {
      skipped.push(`${name} exceeds the largest version, ${Number.MAX_SAFE_INTEGER}`);
      continue;
    }
    const twin = byVersion.get(version);
    if (twin !== undefined) skipped.push(`${twin} is the same version as ${name}`);
    byVersion.set(version, name);
  }
  return { versions: [...byVersion].map(([version, name]) => ({ version, path: pathOf(name) })), skipped };
}

async function directories(basePath: string): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await readdir(basePath, { withFileTypes: true })) {
    if (/^\d+$/.test(entry.name) && (await isDirectory(basePath, entry))) names.push(entry.name);
  }
  return names;
}

async function isDirectory(basePath: string, entry: Dirent): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  return stat(join(basePath, entry.name)).then(
    (target) => target.isDirectory(),
    () => false, // a dangling link is no version
  );
}
