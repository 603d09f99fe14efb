import { EndedVersions } from "./ended-versions.js";
import type { Harness } from "./harness.js";
import type { AspiredSet } from "./servable-id.js";
import type { VersionStatus } from "./status.js";

/** The versions of all models as a manager knows them: what is wanted, what is there, and what became of the rest. */
export class VersionTable {
  readonly aspired = new Map<string, AspiredSet>();
  /** By name and version. */
  readonly harnesses = new Map<string, Map<number, Harness>>();
  readonly ended = new EndedVersions();

  /** Whether `name` was ever aspired. */
  isKnown(name: string): boolean {
    return this.aspired.has(name) || this.harnesses.has(name) || this.ended.of(name) !== undefined;
  }

  /** Names of all models that were ever aspired. */
  names(): readonly string[] {
    return [...new Set([...this.aspired.keys(), ...this.harnesses.keys(), ...this.ended.names()])];
  }

  all(): Harness[] {
    return [...this.harnesses.values()].flatMap((harnesses) => [...harnesses.values()]);
  }

  /** Versions that load now. */
  get loadingCount(): number {
    let count = 0;
    for (const harnesses of this.harnesses.values())
      for (const { state } of harnesses.values()) if (state === "loading") count++;
    return count;
  }

  /** Versions of a model with what became of them, highest first; undefined for a name never heard of. */
  statuses(name: string): readonly VersionStatus[] | undefined {
    const live = this.harnesses.get(name);
    const ended = this.ended.of(name);
    if (!live && !ended) return undefined;
    const statuses = new Map(ended);
    for (const [version, harness] of live ?? []) statuses.set(version, harness.status);
    return [...statuses.values()].sort((a, b) => b.version - a.version);
  }

  /** Whether some version of `name` can be served now. */
  isAvailable(name: string): boolean {
    for (const { status } of this.harnesses.get(name)?.values() ?? []) if (status.state === "AVAILABLE") return true;
    return false;
  }

  /** Nothing more will come of what is aspired now. */
  isEnded(name: string): boolean {
    const aspired = this.aspired.get(name) ?? [];
    if (aspired.length === 0) {
      const statuses = this.statuses(name) ?? [];
      return statuses.length > 0 && statuses.every((status) => status.state === "END");
    }
    return aspired.every(({ version }) => this.hasFailed(name, version));
  }

  /** Something that is aspired now failed on what surrounds it, and is tried again by itself. */
  hasMetOutage(name: string): boolean {
    const harnesses = this.harnesses.get(name);
    return (this.aspired.get(name) ?? []).some(({ version }) => harnesses?.get(version)?.hasMetOutage);
  }

  /** Not so of a version that is aspired again while it leaves: it will be loaded anew. */
  hasFailed(name: string, version: number): boolean {
    const harness = this.harnesses.get(name)?.get(version);
    return harness !== undefined && harness.status.state === "END" && !harness.isLeaving;
  }

  /** Drops an ended version from the live ones and keeps what became of it, up to a bound. */
  forget(harness: Harness): void {
    const { name, version } = harness.id;
    this.harnesses.get(name)?.delete(version);
    this.ended.remember(name, harness.status);
  }
}
