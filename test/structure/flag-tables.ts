import { run } from "shardserve";

/** The commands of the program and their flags, as its own help tells them. */
export class FlagTables {
  readonly commands: readonly string[];
  readonly #known: ReadonlyMap<string, ReadonlySet<string>>;

  private constructor(known: ReadonlyMap<string, ReadonlySet<string>>) {
    this.#known = known;
    this.commands = [...known.keys()];
  }

  static async read(): Promise<FlagTables> {
    const known = new Map<string, ReadonlySet<string>>();
    for (const [, command] of (await printed(["--help"])).matchAll(/^ {2}([a-z][a-z-]*) {2,}\S/gm)) {
      const table = (await printed([command!, "--help"])).split(/^Flags .*:$/m)[1] ?? "";
      const flags = [...table.matchAll(/^ {2}--([a-z0-9-]+)/gm)].map((match) => match[1]!);
      known.set(command!, new Set(["help", "verbose", ...flags]));
    }
    return new FlagTables(known);
  }

  /** Flags of a command line that its command does not have. */
  unknown([command, ...args]: readonly string[]): string[] {
    const known = this.#known.get(command!);
    return args.filter((arg) => arg.startsWith("--") && !known?.has(nameOf(arg)));
  }
}

/** What a command line prints; it must do nothing else. */
async function printed(args: readonly string[]): Promise<string> {
  const { log } = console;
  const lines: unknown[] = [];
  console.log = (line: unknown) => lines.push(line);
  try {
    await run(args);
  } finally {
    console.log = log;
  }
  return lines.join("\n");
}

/** --model_name=x -> model-name */
function nameOf(argument: string): string {
  return argument
    .slice(2)
    .replace(/=[^]*$/, "")
    .replaceAll("_", "-")
    .replace(/^no-/, "");
}
