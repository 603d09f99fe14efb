import { type Clock, ServingError } from "@shardserve/core";
import { type ServableId, servableIdText } from "@shardserve/servable";

/** What a load waits for changes from one moment to the next while shards connect: it is told this often at most. */
const TOLD_EACH_MS = 1_000;

interface Trouble {
  readonly id: ServableId;
  error: ServingError | undefined;
  toldAtMs: number;
}

/** What keeps versions that are being loaded from being served: what the load waits for, or why the last try failed. */
export class LoadTroubles {
  readonly #clock: Clock;
  readonly #onChange: () => void;
  readonly #troubles = new Map<string, Trouble>();

  /** @param onChange  called after what {@link of} says has changed */
  constructor(clock: Clock, onChange: () => void) {
    this.#clock = clock;
    this.#onChange = onChange;
  }

  of(id: ServableId): ServingError | undefined {
    return this.#troubles.get(servableIdText(id))?.error;
  }

  /** A load begins: what the one before failed at stands until something else is told. */
  begin(id: ServableId): void {
    const error = this.of(id);
    this.#troubles.set(servableIdText(id), { id, error, toldAtMs: this.#clock.nowMs() });
  }

  /** @param why  what the load waits for now */
  waits(id: ServableId, why: string): void {
    const trouble = this.#troubles.get(servableIdText(id));
    const nowMs = this.#clock.nowMs();
    if (!trouble || trouble.error?.message === why || nowMs - trouble.toldAtMs < TOLD_EACH_MS) return;
    trouble.error = new ServingError("UNAVAILABLE", why);
    trouble.toldAtMs = nowMs;
    this.#onChange();
  }

  failed(id: ServableId, error: ServingError): void {
    this.#troubles.set(servableIdText(id), { id, error, toldAtMs: this.#clock.nowMs() });
    this.#onChange();
  }

  /** The load is over, or nobody wants it any more. */
  end(id: ServableId): void {
    this.#troubles.delete(servableIdText(id));
  }

  /** Forgets versions whose last try failed and that are not wanted any more. */
  keepOnly(isWanted: (id: ServableId) => boolean): void {
    for (const { id } of this.#troubles.values()) if (!isWanted(id)) this.end(id);
  }
}
