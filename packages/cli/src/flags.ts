import { type ConfigSpec, compileConfig, type OptionSpec, option, ServingError } from "@shardserve/core";

/** One command-line flag: how it is parsed and what `--help` says about it. */
export interface Flag<T> extends OptionSpec<T> {
  readonly help: string;
  /** What stands for the value in `--help`; absent for booleans. */
  readonly metavar?: string;
}

export type FlagTable<C> = { readonly [K in keyof C]-?: Flag<C[K]> };

/** The values of a flag table, by flag name. */
export type FlagValues<T> = { -readonly [K in keyof T]: T[K] extends Flag<infer V> ? V : never };

function of<T>(spec: OptionSpec<T>, help: string, metavar?: string): Flag<T> {
  return metavar === undefined ? { ...spec, help } : { ...spec, help, metavar };
}

/** Constructors of flags. A flag without a default is required. */
export const flag = {
  text: (help: string, metavar: string, defaultValue?: string) => of(option.text(defaultValue), help, metavar),
  /** A text that says something: `--host=` is refused. */
  filled: (help: string, metavar: string, defaultValue?: string) => of(option.filled(defaultValue), help, metavar),
  bool: (help: string, defaultValue = false) => of(option.bool(defaultValue), help),
  int: (help: string, min: number, max: number, defaultValue?: number) =>
    of(option.int(min, max, defaultValue), help, "N"),
  number: (help: string, min: number, max: number, defaultValue?: number) =>
    of(option.number(min, max, defaultValue), help, "X"),
  bytes: (help: string, defaultValue?: number) => of(option.bytes(defaultValue), help, "BYTES"),
  oneOf: <const T extends string>(help: string, values: readonly T[], defaultValue?: NoInfer<T>) =>
    of(option.oneOf(values, defaultValue), help, values.join("|")),
  list: (help: string, metavar: string, defaultValue?: readonly string[]) =>
    of(option.list(defaultValue), help, metavar),
};

export interface ParsedArguments<C> {
  readonly positionals: readonly string[];
  readonly flags: Readonly<C>;
}

/**
 * Parses arguments after the command's name. `--model_name=x`, `--model-name=x` and `--model-name x` are the same;
 * a boolean is `--flag`, `--flag=false` or `--no-flag`; what follows `--` is positional. A flag that is given twice is refused, unless
 * the last one counts.
 *
 * @throws ServingError CONFIG_INVALID naming the flag, with the rule that it breaks
 */
export function parseArguments<C extends object>(
  command: string,
  table: FlagTable<C>,
  args: readonly string[],
  lastFlagCounts = false,
): ParsedArguments<C> {
  const byName = new Map(
    Object.entries(table).map(([key, spec]) => [flagName(key), [key, spec as Flag<unknown>] as const]),
  );
  const positionals: string[] = [];
  const raw: Record<string, unknown> = {};
  for (let i = 0; i < args.length; i++) {
    const argument = args[i]!;
    if (argument === "--") {
      positionals.push(...args.slice(i + 1));
      break;
    }
    if (!argument.startsWith("--")) {
      if (/^-[a-z]/i.test(argument))
        throw new ServingError(
          "CONFIG_INVALID",
          `${command}: unknown flag ${argument}; flags begin with --, see --help`,
        );
      positionals.push(argument);
      continue;
    }
    const [, written, value] = /^--([^=]+)(?:=([^]*))?$/.exec(argument) ?? [];
    const name = (written ?? "").replaceAll("_", "-");
    const found = byName.get(name) ?? byName.get(name.replace(/^no-/, ""));
    if (!found) throw new ServingError("CONFIG_INVALID", `${command}: unknown flag ${argument}; see --help`);
    const [key, spec] = found;
    if (key in raw && !lastFlagCounts)
      throw new ServingError("CONFIG_INVALID", `${command}: --${flagName(key)} is given twice`);
    if (!byName.has(name)) {
      if (spec.metavar)
        throw new ServingError("CONFIG_INVALID", `${command}: ${argument}: only switches can be negated`);
      raw[key] = false;
    } else if (value !== undefined) {
      raw[key] = value;
    } else if (spec.metavar === undefined) {
      raw[key] = true;
    } else {
      const next = args[++i];
      if (next === undefined)
        throw new ServingError("CONFIG_INVALID", `${command}: ${argument} needs a value (${spec.metavar})`);
      raw[key] = next;
    }
  }
  return { positionals, flags: compileFlags(command, table, raw) };
}

/** Compiles values under the names that the caller wrote, so that a refusal speaks of `--row-dtype`, not `rowDtype`. */
function compileFlags<C extends object>(
  command: string,
  table: FlagTable<C>,
  raw: Readonly<Record<string, unknown>>,
): Readonly<C> {
  const written = (key: string) => `--${flagName(key)}`;
  const rename = (values: object) => Object.fromEntries(Object.entries(values).map(([key, v]) => [written(key), v]));
  const spec = rename(table) as ConfigSpec<Record<string, unknown>>;
  const compiled = compileConfig(command, spec, rename(raw));
  return Object.freeze(
    Object.fromEntries(Object.keys(table).map((key) => [key, compiled[written(key)]])),
  ) as Readonly<C>;
}

/** @throws ServingError CONFIG_INVALID when a command that takes only flags got something else */
export function refusePositionals(command: string, positionals: readonly string[]): void {
  if (positionals.length > 0)
    throw new ServingError("CONFIG_INVALID", `${command}: what is "${positionals[0]}"? see --help`);
}

/** modelBasePath -> model-base-path */
export function flagName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
