import { shardExport } from "./commands/shard-export.js";
import type { Command } from "./command.js";
import { type ExitCode, main } from "./main.js";

const commands: readonly Command[] = [shardExport];

/** Runs `shardserve ARGS...` in this process. */
export function run(args: readonly string[]): Promise<ExitCode> {
  return main(commands, args);
}
