import { type Clock, runInTurns, ServingError, sleep } from "@shardserve/core";
import { decide } from "./decide/next-step.js";
import type { Decision, Waiting } from "./decide/step.js";
import type { ClusterState } from "./observe/cluster-state.js";
import { RefusalWatch } from "./observe/refusal-watch.js";
import type { Repository, RepositoryContents } from "./observe/repository.js";
import { RetireWatch } from "./observe/retire-watch.js";
import { ShardWatch } from "./observe/shard-watch.js";
import type { ControllerSettings } from "./settings.js";

/** How long a round waits for a look at the repository, in milliseconds. */
const LOOK_WAIT_MS = 1_000;

/** What a leader remembers between rounds: times, and what it said already. None of it is needed by the next leader. */
export class LeaderRounds {
  readonly #clock: Clock;
  readonly #settings: ControllerSettings;
  readonly #onLookFailed: () => void;
  #repository: RepositoryContents = new Map();
  #scannedMs = -Infinity;
  /** Revision of the news that the last look followed. */
  #newsRevision: number | undefined;
  #scanError: string | undefined;
  #look: Promise<void> | undefined;
  readonly #shards: ShardWatch;
  readonly #retiring = new RetireWatch();
  readonly #refusals: RefusalWatch;
  #unsteadyCount = 0;
  #said = new Set<string>();
  #saidBroken = new Set<string>();

  /** @param onLookFailed  called after each look at the repository that failed */
  constructor(clock: Clock, settings: ControllerSettings, onLookFailed: () => void) {
    this.#clock = clock;
    this.#onLookFailed = onLookFailed;
    this.#settings = settings;
    this.#shards = new ShardWatch(clock.nowMs());
    this.#refusals = new RefusalWatch(settings.replaceAfterMs);
  }

  /**
   * Looks when it is time to, or there is news. A look that takes long goes on beside the rounds: dead shards are replaced meanwhile.
   *
   * @param newsRevision  at which somebody said that the repository has something new; undefined = nobody did
   */
  async scan(repository: Repository, newsRevision: number | undefined, signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const isDue = nowMs - this.#scannedMs >= this.#settings.pollMs || newsRevision !== this.#newsRevision;
    if (this.#look || !isDue) return; // news that comes while it looks may be missed by that look: it looks again
    this.#scannedMs = nowMs;
    this.#newsRevision = newsRevision;
    this.#look = this.#scan(repository, signal).finally(() => (this.#look = undefined));
    const over = new AbortController();
    const waited = sleep(this.#clock, LOOK_WAIT_MS, over.signal).catch(() => undefined); // the look was over first
    await Promise.race([this.#look, waited]);
    over.abort();
  }

  async #scan(repository: Repository, signal: AbortSignal): Promise<void> {
    try {
      this.#repository = await repository.scan({ signal });
      this.#scanError = undefined;
    } catch (error) {
      if (signal.aborted) return;
      this.#scanError = ServingError.from(error).message;
      this.#onLookFailed();
    }
  }

  /** Shards that came and went too often, as the last decision saw it. */
  get unsteadyCount(): number {
    return this.#unsteadyCount;
  }

  /** Why the last look at the repository failed; the one before it holds, and shards are replaced all the same. */
  get scanError(): string | undefined {
    return this.#scanError;
  }

  /** In turns of the event loop: the shard of this process serves rows meanwhile. */
  decide(state: ClusterState, signal: AbortSignal): Promise<Decision> {
    const nowMs = this.#clock.nowMs();
    const presence = this.#shards.observe(state, nowMs);
    this.#unsteadyCount = presence.unsteady.size;
    const observed = {
      state,
      repository: this.#repository,
      ...presence,
      avoided: this.#refusals.observe(state, nowMs),
      retiringForMs: this.#retiring.observe(state, nowMs),
      nowMs: this.#clock.wallMs(),
      settings: this.#settings,
    };
    return runInTurns(decide(observed), signal);
  }

  /** Those of `waiting` that were not there, or waited for something else, the last time. */
  news(waiting: readonly Waiting[]): Waiting[] {
    const textOf = ({ model, version, why }: Waiting) => JSON.stringify([model, version, why]);
    const fresh = waiting.filter((item) => !this.#said.has(textOf(item)));
    this.#said = new Set(waiting.map(textOf));
    return fresh;
  }

  /** Those of `texts` that were not there the last time. */
  newlyBroken(texts: readonly string[]): string[] {
    const fresh = texts.filter((text) => !this.#saidBroken.has(text));
    this.#saidBroken = new Set(texts);
    return fresh;
  }
}
