import type { VersionStatus } from "./status.js";

/** Ended versions remembered per model; TensorFlow Serving forgets none, and its list grows with every rollout. */
const ENDED_VERSIONS_MAX = 64;

/** What became of the versions of each model that are no longer there, up to a bound. */
export class EndedVersions {
  readonly #models = new Map<string, Map<number, VersionStatus>>();

  names(): Iterable<string> {
    return this.#models.keys();
  }

  /** By version; undefined where none of the model ever ended. */
  of(name: string): ReadonlyMap<number, VersionStatus> | undefined {
    return this.#models.get(name);
  }

  remember(name: string, status: VersionStatus): void {
    const ended = this.#models.get(name) ?? new Map<number, VersionStatus>();
    ended.delete(status.version);
    ended.set(status.version, status);
    if (ended.size > ENDED_VERSIONS_MAX) ended.delete(ended.keys().next().value!);
    this.#models.set(name, ended);
  }

  /** The version is there again. */
  forget(name: string, version: number): void {
    this.#models.get(name)?.delete(version);
  }
}
