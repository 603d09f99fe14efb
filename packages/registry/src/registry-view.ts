import {
  Changes,
  type Clock,
  type Logger,
  OutageLog,
  RepeatedWork,
  ServingError,
  silentLogger,
  sleep,
  systemClock,
} from "@shardserve/core";
import type { Entry, Registry } from "./registry.js";
import type { SavedState, StateFile } from "./records/state-file.js";

/** For {@link RegistryView}. */
export interface RegistryViewOptions {
  readonly logger?: Logger;
  readonly clock?: Clock;
  /** Where the last known keys are kept; absent = nowhere, and a view that starts without the registry knows nothing. */
  readonly state?: StateFile;
  /** How long a starting view waits for the registry before it takes the keys from `state`, in milliseconds; default 3000. */
  readonly stateAfterMs?: number;
}

/** Writes of the state file are at least this far apart: a rollout changes many keys within a second. */
const SAVE_PAUSE_MS = 500;
/** How soon a write that failed is tried again: disks that are full do not stay so. */
const SAVE_AGAIN_MS = 5_000;

/**
 * A mirror of all keys under a prefix, kept current by a watch. While the registry is away it keeps what it knew last;
 * with a state file that holds over a restart, too.
 */
export class RegistryView {
  readonly prefix: string;
  readonly #registry: Registry;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #state: StateFile | undefined;
  readonly #stateAfterMs: number;
  readonly #saves: OutageLog;
  readonly #entries = new Map<string, Entry>();
  readonly #changes = new Changes();
  readonly #stop = new AbortController();
  #revision = 0;
  #historyCount = 0;
  #saved: SavedState | undefined;
  #isFromDisk = false;
  #failure: ServingError | undefined;
  #watching: Promise<void> | undefined;
  readonly #saving = new RepeatedWork(() => this.#saveUntilSaved());
  #isUnsaved = false;

  constructor(registry: Registry, prefix: string, options: RegistryViewOptions = {}) {
    this.#registry = registry;
    this.prefix = prefix;
    this.#logger = options.logger ?? silentLogger;
    this.#clock = options.clock ?? systemClock;
    this.#state = options.state;
    this.#stateAfterMs = options.stateAfterMs ?? 3_000;
    this.#saves = new OutageLog(
      this.#logger,
      this.#clock,
      "the last known state was not saved; the one before stays",
      "the last known state is saved again",
    );
  }

  /** Keys as last seen; the map changes in place, between events never. */
  get entries(): ReadonlyMap<string, Entry> {
    return this.#entries;
  }

  /** Revision that the view has reached; 0 = nothing was heard yet. */
  get revision(): number {
    return this.#revision;
  }

  /**
   * How often the registry turned out to have another history than before: its revision or that of a key went back, so
   * it was restored from a backup or begun anew. What it lacks now was not deleted by anybody.
   */
  get historyCount(): number {
    return this.#historyCount;
  }

  /** When the keys were saved, ms since the epoch, as long as they are those of the state file; else undefined. */
  get savedAtMs(): number | undefined {
    return this.#isFromDisk ? this.#saved?.savedAtMs : undefined;
  }

  /** Begins to watch; a second call does nothing. */
  start(): void {
    this.#watching ??= this.#watch();
  }

  /** Calls back after every event was applied. @returns a function that ends it */
  subscribe(listener: () => void): () => void {
    return this.#changes.subscribe(listener);
  }

  /**
   * Waits until the view has reached `revision`; default: until it holds anything at all. Note that a revision that wrote
   * nothing under the prefix is reached with the next one that did.
   *
   * @throws the signal's reason; ServingError when the watch ended
   */
  async reach(revision = 1, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    while (this.#revision < revision) {
      if (this.#failure) throw this.#failure;
      await this.#changes.next(options.signal);
    }
  }

  /** Ends the watch and saves what was not saved yet. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
    await this.#saving.whenIdle();
    if (this.#isUnsaved) await this.#save();
  }

  async #watch(): Promise<void> {
    await this.#loadState();
    const cancel = this.#clock.after(this.#stateAfterMs, () => {
      if (this.#revision === 0 && !this.#stop.signal.aborted) this.#takeSaved();
    });
    try {
      for await (const event of this.#registry.watch(this.prefix, { signal: this.#stop.signal })) {
        if (event.type === "snapshot") {
          this.#compareHistory(event.revision, event.entries);
          this.#entries.clear();
          for (const entry of event.entries) this.#entries.set(entry.key, entry);
        } else {
          for (const change of event.changes) {
            if (change.type === "put") this.#entries.set(change.entry.key, change.entry);
            else this.#entries.delete(change.key);
          }
        }
        this.#revision = event.revision;
        this.#isFromDisk = false;
        this.#changes.notify();
        this.#saveSoon();
      }
      this.#failure = new ServingError("REGISTRY_UNAVAILABLE", `the watch on ${this.prefix} is closed`);
    } catch (error) {
      this.#failure = ServingError.from(error);
      this.#logger.error({ prefix: this.prefix, error: this.#failure.message }, "watch ended for good");
    }
    cancel();
    this.#changes.notify();
  }

  /** A revision that went back shows another history; where that one has run further by now, one of its keys does. */
  #compareHistory(revision: number, entries: readonly Entry[]): void {
    const knownRevision = Math.max(this.#revision, this.#saved?.revision ?? 0);
    const known = this.#revision === 0 ? (this.#saved?.entries ?? []) : [...this.#entries.values()];
    const knownRevisions = new Map(known.map(({ key, modRevision }) => [key, modRevision]));
    const wentBack = entries.find(({ key, modRevision }) => modRevision < (knownRevisions.get(key) ?? 0));
    if (revision >= knownRevision && !wentBack) return;
    if (this.#revision === 0) this.#takeSaved(); // who listens learns first what was there before
    this.#historyCount++;
    this.#saved = undefined;
    this.#logger.error(
      { prefix: this.prefix, revision, knownRevision, ...(wentBack && { key: wentBack.key }) },
      "the registry's history is another one: restored from a backup, or begun anew",
    );
  }

  async #loadState(): Promise<void> {
    try {
      this.#saved = await this.#state?.load();
    } catch (error) {
      this.#logger.error({ prefix: this.prefix, error: ServingError.from(error).message }, "no last known state");
    }
  }

  #takeSaved(): void {
    if (!this.#saved) return;
    const { revision, savedAtMs, entries } = this.#saved;
    for (const entry of entries) this.#entries.set(entry.key, entry);
    this.#revision = revision;
    this.#isFromDisk = true;
    const ageSeconds = Math.round((this.#clock.wallMs() - savedAtMs) / 1000);
    this.#logger.warn(
      { prefix: this.prefix, revision, ageSeconds, keys: entries.length },
      "the registry is away: going on with the last known state from disk",
    );
    this.#changes.notify();
  }

  #saveSoon(): void {
    if (!this.#state) return;
    this.#isUnsaved = true;
    this.#saving.ask();
  }

  async #saveUntilSaved(): Promise<void> {
    while (this.#isUnsaved && !this.#stop.signal.aborted) {
      const isSaved = await this.#save();
      const pauseMs = isSaved ? SAVE_PAUSE_MS : SAVE_AGAIN_MS;
      await sleep(this.#clock, pauseMs, this.#stop.signal).catch(() => undefined); // close saves the rest
    }
  }

  /** @returns false when it failed and is still to be done */
  async #save(): Promise<boolean> {
    this.#isUnsaved = false;
    const state = {
      revision: this.#revision,
      savedAtMs: this.#clock.wallMs(),
      entries: [...this.#entries.values()],
    };
    try {
      await this.#state?.save(state);
      this.#saves.works({ path: this.#state?.path });
      return true;
    } catch (error) {
      this.#isUnsaved = true;
      this.#saves.failed(ServingError.from(error), { path: this.#state?.path });
      return false;
    }
  }
}
