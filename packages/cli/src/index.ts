import type { Command } from "./command.js";
import { type ExitCode, main } from "./main.js";

const commands: readonly Command[] = [];

/** Runs `shardserve ARGS...` in this process. */
export function run(args: readonly string[]): Promise<ExitCode> {
  return main(commands, args);
}
