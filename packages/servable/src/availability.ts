import { type CancelSignal, ServingError } from "@shardserve/core";
import type { NameChanges } from "./name-changes.js";
import { type AspiredSet, isSameSet } from "./servable-id.js";
import type { VersionStatus } from "./status.js";
import type { VersionTable } from "./version-table.js";

/**
 * Resolves once every name has an available version. Waits for a name of which nothing is aspired yet, not for further tries
 * of versions that failed on an outage while it waited: where many do, some are on their way at any moment.
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
  /** Of each name that failed on an outage, what was aspired and became of its highest version. */
  const outages = new Map<string, { readonly aspired: AspiredSet; readonly status: VersionStatus }>();
  const endOf = (name: string): VersionStatus | undefined => {
    const aspired = versions.aspired.get(name) ?? [];
    if (versions.isEnded(name)) {
      const status = versions.statuses(name)![0]!;
      if (versions.hasMetOutage(name)) outages.set(name, { aspired, status });
      else outages.delete(name);
      return status;
    }
    const outage = outages.get(name);
    if (outage && !isSameSet(outage.aspired, aspired)) outages.delete(name);
    return outages.get(name)?.status;
  };
  const isSettled = (name: string) => versions.isAvailable(name) || endOf(name) !== undefined;
  do await changes.whenAll(names, isSettled, signal);
  while (!names.every(isSettled)); // one was available, or had ended, for a moment
  const failed = names.filter((name) => !versions.isAvailable(name));
  if (failed.length === 0) return;
  const what = failed.map((name) => ({ name, status: endOf(name)! }));
  throw new ServingError("LOAD_FAILED", notAvailableText(what, noun));
}

function notAvailableText(failed: readonly { name: string; status: VersionStatus }[], noun: string): string {
  const reasons = failed.map(
    ({ name, status }) =>
      `{name: ${name} version: ${status.version}} due to error: ${status.error.code}: ${status.error.message}}, `,
  );
  return `${failed.length} ${noun}(s) did not become available: {${reasons.join("")}}`;
}
