import { flagName } from "../../flags.js";

/**
 * The values of flags by the names that an operator writes, fit to be shown: what stands before the @ of a URL is left out. Secrets are in
 * files and in the environment, and neither is shown.
 */
export function shownFlags(flags: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(flags).map(([key, value]) => [`--${flagName(key)}`, shown(value)]));
}

function shown(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shown);
  return typeof value === "string" ? value.replaceAll(/(\/\/)[^/@\s]*@/g, "$1***@") : value;
}
