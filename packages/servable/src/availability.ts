import { type CancelSignal, ServingError } from "@shardserve/core";
import type { NameChanges } from "./name-changes.js";
import type { VersionStatus } from "./status.js";
import type { VersionTable } from "./version-table.js";

/**
 * Resolves once every name has an available version. Waits for a name of which nothing is aspired yet, not for tries of one whose
 * versions ended while it waited: where many fail on an outage, some are on their way at any moment.
 *
 * @param options.noun  what the error calls them, default "servable"
 * @throws ServingError LOAD_FAILED when a name's aspired versions all ended without one; the signal's reason
 */
export async function whenAvailable(
  versions: VersionTable,
  changes: NameChanges,
  names: readonly string[],
  { signal, noun = "servable" }: { readonly signal?: CancelSignal; readonly noun?: string },
): Promise<void> {
  /** Of each name that ended, its highest version. */
  const ends = new Map<string, VersionStatus>();
  const isSettled = (name: string) => {
    if (versions.isEnded(name)) ends.set(name, versions.statuses(name)![0]!);
    return versions.isAvailable(name) || ends.has(name);
  };
  do await changes.whenAll(names, isSettled, signal);
  while (!names.every(isSettled)); // one was available for a moment
  const failed = names.filter((name) => !versions.isAvailable(name));
  if (failed.length === 0) return;
  const what = failed.map((name) => ({ name, status: ends.get(name)! }));
  throw new ServingError("LOAD_FAILED", notAvailableText(what, noun));
}

function notAvailableText(failed: readonly { name: string; status: VersionStatus }[], noun: string): string {
  const reasons = failed.map(
    ({ name, status }) =>
      `{name: ${name} version: ${status.version}} due to error: ${status.error.code}: ${status.error.message}}, `,
  );
  return `${failed.length} ${noun}(s) did not become available: {${reasons.join("")}}`;
}
