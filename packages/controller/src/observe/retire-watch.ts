import type { ClusterState } from "./cluster-state.js";

/**
 * For how long this leader has seen each replaced version wait for its departure. A point in time in the registry would
 * be as good as the clocks of all leaders: one that jumps would end a version at once, or keep it for hours.
 */
export class RetireWatch {
  /** By revision of the record that says `retiring`. */
  #sinceMs = new Map<number, number>();

  /**
   * @param nowMs  monotonic
   * @returns milliseconds by that revision
   */
  observe({ models }: ClusterState, nowMs: number): ReadonlyMap<number, number> {
    const before = this.#sinceMs;
    this.#sinceMs = new Map();
    const forMs = new Map<number, number>();
    for (const { versions } of models.values()) {
      for (const { record } of versions.values()) {
        if (record?.value.state !== "retiring") continue;
        const sinceMs = before.get(record.modRevision) ?? nowMs;
        this.#sinceMs.set(record.modRevision, sinceMs);
        forMs.set(record.modRevision, nowMs - sinceMs);
      }
    }
    return forMs;
  }
}
