import type { CommandTable } from "./command.js";
import { type ExitCode, main } from "./main.js";

/** In the order of a model's life. Each is loaded when it is named: no command waits for what only another one imports. */
export const commands: CommandTable = new Map([
  ["inspect", async () => (await import("./commands/inspect.js")).inspect],
  ["shard-export", async () => (await import("./commands/shard-export.js")).shardExport],
  ["plan", async () => (await import("./commands/plan.js")).plan],
  ["serve", async () => (await import("./commands/serve.js")).serve],
  ["up", async () => (await import("./commands/up.js")).up],
  ["shard", async () => (await import("./commands/shard.js")).shard],
  ["executor", async () => (await import("./commands/executor.js")).executor],
  ["apply", async () => (await import("./commands/apply.js")).apply],
  ["predict", async () => (await import("./commands/predict.js")).predict],
  ["explain", async () => (await import("./commands/explain.js")).explain],
  ["status", async () => (await import("./commands/status.js")).status],
  ["want", async () => (await import("./commands/want.js")).want],
  ["label", async () => (await import("./commands/label.js")).label],
  ["traffic", async () => (await import("./commands/traffic.js")).traffic],
  ["rollback", async () => (await import("./commands/rollback.js")).rollback],
  ["fold", async () => (await import("./commands/fold.js")).fold],
  ["drain", async () => (await import("./commands/drain.js")).drain],
  ["undrain", async () => (await import("./commands/drain.js")).undrain],
  ["rebalance", async () => (await import("./commands/rebalance.js")).rebalance],
  ["verify", async () => (await import("./commands/verify.js")).verify],
]);

/** Runs `shardserve ARGS...` in this process. */
export function run(args: readonly string[]): Promise<ExitCode> {
  return main(commands, args);
}
