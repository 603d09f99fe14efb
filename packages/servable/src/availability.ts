import { type CancelSignal, ServingError } from "@shardserve/core";
import type { NameChanges } from "./name-changes.js";
import type { VersionStatus } from "./status.js";
import type { VersionTable } from "./version-table.js";

/**
 * Resolves once every name has an available version. Waits for a name of which nothing is aspired yet.
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
  const isSettled = (name: string) => versions.isAvailable(name) || versions.isEnded(name);
  for (;;) {
    await changes.whenAll(names, isSettled, signal);
    const failed = names.filter((name) => !versions.isAvailable(name));
    if (failed.length === 0) return;
    if (!failed.every((name) => versions.isEnded(name))) continue; // one of them is on its way again
    const what = failed.map((name) => ({ name, statuses: versions.statuses(name)! }));
    throw new ServingError("LOAD_FAILED", notAvailableText(what, noun));
  }
}

function notAvailableText(
  failed: readonly { name: string; statuses: readonly VersionStatus[] }[],
  noun: string,
): string {
  const reasons = failed.map(
    ({ name, statuses: [status] }) =>
      `{name: ${name} version: ${status!.version}} due to error: ${status!.error.code}: ${status!.error.message}}, `,
  );
  return `${failed.length} ${noun}(s) did not become available: {${reasons.join("")}}`;
}
