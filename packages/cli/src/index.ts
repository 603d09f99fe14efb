import type { Command } from "./command.js";
import { drain, undrain } from "./commands/drain.js";
import { executor } from "./commands/executor.js";
import { inspect } from "./commands/inspect.js";
import { label } from "./commands/label.js";
import { plan } from "./commands/plan.js";
import { predict } from "./commands/predict.js";
import { rebalance } from "./commands/rebalance.js";
import { rollback } from "./commands/rollback.js";
import { serve } from "./commands/serve.js";
import { shard } from "./commands/shard.js";
import { shardExport } from "./commands/shard-export.js";
import { status } from "./commands/status.js";
import { traffic } from "./commands/traffic.js";
import { up } from "./commands/up.js";
import { verify } from "./commands/verify.js";
import { want } from "./commands/want.js";
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
  want,
  label,
  traffic,
  rollback,
  drain,
  undrain,
  rebalance,
  verify,
];

/** Runs `shardserve ARGS...` in this process. */
export function run(args: readonly string[]): Promise<ExitCode> {
  return main(commands, args);
}
