import type { Command } from "./command.js";
import { executor } from "./commands/executor.js";
import { inspect } from "./commands/inspect.js";
import { plan } from "./commands/plan.js";
import { predict } from "./commands/predict.js";
import { serve } from "./commands/serve.js";
import { shard } from "./commands/shard.js";
import { shardExport } from "./commands/shard-export.js";
import { status } from "./commands/status.js";
import { up } from "./commands/up.js";
import { verify } from "./commands/verify.js";
import { type ExitCode, main } from "./main.js";

/** In the order of a model's life. */
export const commands: readonly Command[] = [
  inspect,
  shardExport,
  plan,
  serve,
  up,
  shard,
  executor,
  predict,
  status,
  verify,
];

/** Runs `shardserve ARGS...` in this process. */
export function run(args: readonly string[]): Promise<ExitCode> {
  return main(commands, args);
}
