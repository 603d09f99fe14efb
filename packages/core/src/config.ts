import { ServingError } from "./errors.js";

/** One option: its default (absent = required) and how a raw value becomes the effective one. */
export interface OptionSpec<T> {
  readonly default?: T;
  /** @throws Error saying the rule that the value breaks */
  readonly parse: (raw: unknown) => T;
}

/** An option of each name of `C`: what it takes and its default. */
export type ConfigSpec<C> = { readonly [K in keyof C]-?: OptionSpec<C[K]> };

/**
 * Compiles raw options once into a frozen configuration: fills defaults, refuses unknown keys and bad values, never repairs.
 *
 * @param where  what the options belong to, for messages ("shard", "serve")
 * @param check  rules between options; throws an Error that states the rule
 * @throws ServingError CONFIG_INVALID naming the key, the rule and the value
 */
export function compileConfig<C extends object>(
  where: string,
  spec: ConfigSpec<C>,
  raw: Readonly<Record<string, unknown>>,
  check?: (config: C) => void,
): Readonly<C> {
  for (const key of Object.keys(raw)) {
    if (!(key in spec)) {
      throw new ServingError(
        "CONFIG_INVALID",
        `${where}: unknown option "${key}"; known are ${Object.keys(spec).join(", ")}`,
      );
    }
  }
  const config: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(spec) as [string, OptionSpec<unknown>][]) {
    const value = raw[key];
    if (value === undefined) {
      if (!("default" in option)) throw new ServingError("CONFIG_INVALID", `${where}: option "${key}" is required`);
      config[key] = option.default;
      continue;
    }
    try {
      config[key] = option.parse(value);
    } catch (error) {
      throw new ServingError(
        "CONFIG_INVALID",
        `${where}: ${key}=${JSON.stringify(value)}: ${(error as Error).message}`,
      );
    }
  }
  try {
    check?.(config as C);
  } catch (error) {
    throw new ServingError("CONFIG_INVALID", `${where}: ${(error as Error).message}`);
  }
  return Object.freeze(config) as Readonly<C>;
}

/** Kinds of options; each without a default must be given. */
export const option = {
  text(defaultValue?: string): OptionSpec<string> {
    return withDefault(defaultValue, (raw) => {
      if (typeof raw !== "string") throw new Error("must be a text");
      return raw;
    });
  },
  /** A text that is not blank. */
  filled(defaultValue?: string): OptionSpec<string> {
    return withDefault(defaultValue, (raw) => {
      if (typeof raw !== "string" || raw.trim() === "") throw new Error("must not be empty");
      return raw;
    });
  },
  bool(defaultValue?: boolean): OptionSpec<boolean> {
    return withDefault(defaultValue, (raw) => {
      if (raw === true || raw === "true" || raw === "1" || raw === "") return true;
      if (raw === false || raw === "false" || raw === "0") return false;
      throw new Error("must be true or false");
    });
  },
  /** An integer in [min, max]. */
  int(min: number, max: number, defaultValue?: number): OptionSpec<number> {
    return withDefault(defaultValue, (raw) => {
      const value = typeof raw === "string" ? parseDecimal(raw) : raw;
      if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max) {
        throw new Error(`must be an integer in [${min}, ${max}]`);
      }
      return value;
    });
  },
  number(min: number, max: number, defaultValue?: number): OptionSpec<number> {
    return withDefault(defaultValue, (raw) => {
      const value = typeof raw === "string" ? parseDecimal(raw) : raw;
      if (typeof value !== "number" || !(value >= min && value <= max))
        throw new Error(`must be a number in [${min}, ${max}]`);
      return value;
    });
  },
  oneOf<const T extends string>(values: readonly T[], defaultValue?: NoInfer<T>): OptionSpec<T> {
    return withDefault(defaultValue, (raw) => {
      const value = values.find((candidate) => candidate === raw);
      if (value === undefined) throw new Error(`must be one of ${values.join(", ")}`);
      return value;
    });
  },
  /** "512", "64KiB", "1.5GiB": bytes. */
  bytes(defaultValue?: number): OptionSpec<number> {
    return withDefault(defaultValue, (raw) => parseBytes(raw));
  },
  /** A list given as an array or as text with commas. */
  list(defaultValue?: readonly string[]): OptionSpec<readonly string[]> {
    return withDefault(defaultValue, (raw) => {
      if (typeof raw === "string")
        return raw
          .split(",")
          .map((part) => part.trim())
          .filter((part) => part !== "");
      if (Array.isArray(raw) && raw.every((part) => typeof part === "string")) return raw;
      throw new Error("must be a list of texts");
    });
  },
};

function withDefault<T>(defaultValue: T | undefined, parse: (raw: unknown) => T): OptionSpec<T> {
  return defaultValue === undefined ? { parse } : { default: defaultValue, parse };
}

/** NaN where it is no decimal number: Number() takes "", "0x10" and "0b1" as well, which are slips of who writes a flag. */
function parseDecimal(text: string): number {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim()) ? Number(text) : Number.NaN;
}

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

function parseBytes(raw: unknown): number {
  if (typeof raw === "number" && Number.isSafeInteger(raw) && raw >= 0) return raw;
  const match = typeof raw === "string" ? /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(raw.trim()) : null;
  const unit = UNITS[(match?.[2] ?? "?").toLowerCase()];
  if (!match || unit === undefined) throw new Error('must be a byte count such as 512, "64KiB" or "1.5GiB"');
  return Math.floor(Number(match[1]) * unit);
}
