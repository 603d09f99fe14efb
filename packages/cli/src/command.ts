import type { Logger, Progress } from "@shardserve/core";
import { type FlagTable, type FlagValues, flagName } from "./flags.js";

/** What a command gets besides its flags; everything ambient comes from here. */
export interface Terminal {
  /** Writes a line of result to standard output. */
  readonly print: (line: string) => void;
  readonly progress: Progress;
  readonly logger: Logger;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Aborts at the first SIGINT, SIGTERM or SIGHUP; servers drain, tools stop. */
  readonly signal: AbortSignal;
}

export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Arguments after the name, as `--help` shows them. */
  readonly usage: string;
  /** Commands that work as they stand, given the paths. */
  readonly examples: readonly string[];
  // biome-ignore lint: the table's value types are known to `run` only
  readonly flags: FlagTable<Record<string, unknown>>;
  /** Of a flag that is given twice the last one counts; absent = that is refused. */
  readonly lastFlagCounts?: boolean;
  run(positionals: readonly string[], flags: Readonly<Record<string, unknown>>, terminal: Terminal): Promise<void>;
}

/** Loads a command by its name. */
export type CommandTable = ReadonlyMap<string, () => Promise<Command>>;

/** Ties a flag table to the function that uses its values. */
export function defineCommand<T extends FlagTable<Record<string, unknown>>>(definition: {
  readonly name: string;
  readonly summary: string;
  readonly usage: string;
  readonly examples: readonly string[];
  readonly flags: T;
  readonly lastFlagCounts?: boolean;
  run(positionals: readonly string[], flags: Readonly<FlagValues<T>>, terminal: Terminal): Promise<void>;
}): Command {
  return definition as unknown as Command; // parseArguments compiles exactly the values that the table describes
}

/** The text of `shardserve NAME --help`. */
export function helpText(command: Command): string {
  const rows = Object.entries(command.flags).map(([key, spec]) => {
    const left = `  --${flagName(key)}${spec.metavar ? ` ${spec.metavar}` : ""}`;
    const fallback = spec.default;
    const shown =
      "default" in spec
        ? fallback === "" || fallback === false || (Array.isArray(fallback) && fallback.length === 0)
          ? ""
          : ` (default ${spec.metavar === "BYTES" ? byteText(Number(fallback)) : String(fallback)})`
        : " (required)";
    return [left, `${spec.help}${shown}`] as const;
  });
  const width = Math.min(38, Math.max(0, ...rows.map(([left]) => left.length)) + 2);
  return [
    `${command.summary}.`,
    "",
    `Usage: shardserve ${command.name} ${command.usage}`,
    "",
    "Examples:",
    ...command.examples.map((example) => `  ${example}`),
    "",
    "Flags (underscores and dashes are the same):",
    ...rows.map(([left, help]) =>
      left.length + 2 > width ? `${left}\n${" ".repeat(width)}${help}` : left.padEnd(width) + help,
    ),
  ].join("\n");
}

/** A byte count as one would write it for a flag: 16MiB, not 16777216. */
function byteText(bytes: number): string {
  const units = ["", "KiB", "MiB", "GiB"];
  let power = 0;
  while (bytes > 0 && bytes % 1024 === 0 && power < units.length - 1) {
    bytes /= 1024;
    power++;
  }
  return `${bytes}${units[power]}`;
}
