import { type ClusterState, readClusterState } from "@shardserve/controller";
import { isServingError, ServingError, sleep, systemClock } from "@shardserve/core";
import {
  type AspiredRecord,
  type Delete,
  type Entry,
  type Put,
  type Registry,
  type VersionPolicy,
} from "@shardserve/registry";
import type { Terminal } from "../../command.js";
import { openRegistry, type RegistryFlags } from "../flags/registry-flags.js";
import { Outcome } from "./outcome.js";

/** Tries of a change that others overtake. */
const TRIES_MAX = 5;

/** Runs a command of an operator against the registry, and closes it behind. */
export async function withRegistry(
  name: string,
  flags: RegistryFlags & { readonly json: boolean },
  { environment, logger, print }: Pick<Terminal, "environment" | "logger" | "print">,
  run: (registry: Registry, outcome: Outcome) => Promise<void>,
): Promise<void> {
  const registry = openRegistry(flags, name, environment, logger);
  try {
    await run(registry, new Outcome(flags.json, print));
  } finally {
    await registry.close();
  }
}

/**
 * Writes an operator's wish as a transaction on what it was decided from; begins anew when somebody else was quicker.
 *
 * @param decide  gets the cluster and the key's present entry; undefined = nothing to write
 */
export async function change(
  registry: Registry,
  key: string,
  decide: (state: ClusterState, entry: Entry | undefined) => Uint8Array | "delete" | undefined,
  signal: AbortSignal,
): Promise<void> {
  for (let tries = 1; ; tries++) {
    const { entries } = await registry.list("", { signal });
    const entry = entries.find((found) => found.key === key);
    const decided = decide(readClusterState(entries), entry);
    if (decided === undefined || (decided === "delete" && !entry)) return;
    const operation: Put | Delete = decided === "delete" ? { delete: key } : { put: key, value: decided };
    try {
      await registry.txn([{ key, modRevision: entry?.modRevision ?? 0 }], [operation], { signal });
      return;
    } catch (error) {
      if (tries >= TRIES_MAX || !isServingError(error, "REGISTRY_CONFLICT")) throw error;
    }
  }
}

/** The wish for a policy; what was wished besides stays. */
export function wishFor(policy: VersionPolicy, before: AspiredRecord | undefined): AspiredRecord {
  return { ...before, policy };
}

/**
 * Looks at the cluster every half second until `progress` says that it is done.
 *
 * @param progress  a line for the operator, or undefined when it is done
 * @throws ServingError DEADLINE_EXCEEDED with the last line
 */
export async function waitUntil(
  registry: Registry,
  progress: (state: ClusterState) => string | undefined,
  options: { readonly timeoutSeconds: number; readonly outcome: Outcome; readonly signal: AbortSignal },
): Promise<void> {
  const { timeoutSeconds, outcome, signal } = options;
  const endMs = systemClock.nowMs() + timeoutSeconds * 1000;
  let said = "";
  for (;;) {
    const { entries } = await registry.list("", { signal });
    const line = progress(readClusterState(entries));
    if (line === undefined) return;
    if (line !== said) outcome.note(line);
    said = line;
    if (systemClock.nowMs() >= endMs)
      throw new ServingError("DEADLINE_EXCEEDED", `not done after ${timeoutSeconds} s: ${line}; it goes on by itself`);
    await sleep(systemClock, 500, signal);
  }
}

/** The one argument of a command. @throws ServingError CONFIG_INVALID */
export function onlyArgument(command: string, positionals: readonly string[], what: string): string {
  const [only, ...rest] = positionals;
  if (only === undefined || rest.length > 0)
    throw new ServingError("CONFIG_INVALID", `${command}: give one ${what}; see --help`);
  return only;
}
