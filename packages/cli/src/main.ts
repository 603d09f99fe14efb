import { isServingError, type Progress, ServingError, systemClock } from "@shardserve/core";
import { pino, stdSerializers } from "pino";
import type { Command, CommandTable, Terminal } from "./command.js";
import { helpText } from "./command.js";
import { parseArguments } from "./flags.js";
import { logOutput } from "./log-output.js";
import { progressOn } from "./terminal.js";
import { VERSION } from "./version.js";

const LOG_LEVELS = ["debug", "info", "warn", "error"];

/** 0 done, 1 failed, 2 wrong usage. */
export type ExitCode = 0 | 1 | 2;

/**
 * Runs one command line.
 *
 * @param args  arguments after the program's name
 * @returns the process's exit code; errors are printed to standard error, with a stack trace only under `--verbose`
 */
export async function main(commands: CommandTable, args: readonly string[]): Promise<ExitCode> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    console.log(overview(await Promise.all([...commands.values()].map((load) => load()))));
    return name === undefined ? 2 : 0;
  }
  if (name === "--version") {
    console.log(`shardserve ${VERSION}`);
    return 0;
  }
  const command = await commands.get(name)?.();
  if (!command) {
    console.error(`shardserve: there is no command "${name}"; commands are ${[...commands.keys()].join(", ")}`);
    return 2;
  }
  if (rest.includes("--help") || rest.includes("-h")) {
    console.log(helpText(command));
    return 0;
  }
  const verbose = rest.includes("--verbose");
  // The clock's timers keep no process alive: one that only waits (for etcd to come back, say) would end without a word.
  const alive = setInterval(() => undefined, 2 ** 30);
  const progress = progressOn(process.stderr, () => systemClock.nowMs());
  try {
    const { positionals, flags } = parseArguments(
      command.name,
      command.flags,
      rest.filter((argument) => argument !== "--verbose"),
      command.lastFlagCounts,
    );
    await command.run(positionals, flags, terminal(verbose, progress)).finally(() => progress.end());
    return 0;
  } catch (error) {
    const failure = ServingError.from(error);
    console.error(verbose ? failure : `shardserve ${command.name}: ${failure.code}: ${failure.message}`);
    return isServingError(failure, "CONFIG_INVALID") ? 2 : 1;
  } finally {
    clearInterval(alive);
  }
}

function overview(commands: readonly Command[]): string {
  const width = Math.max(...commands.map((command) => command.name.length)) + 2;
  return [
    "shardserve serves TensorFlow SavedModels of any size.",
    "",
    "Usage: shardserve COMMAND [FLAGS]    shardserve COMMAND --help",
    "",
    ...commands.map((command) => `  ${command.name.padEnd(width)}${command.summary}`),
  ].join("\n");
}

/** An operating error as its code and text: its stack says nothing to an operator. Others are defects and keep theirs. */
function briefError(error: Error): object {
  return error instanceof ServingError ? { code: error.code, message: error.message } : stdSerializers.err(error);
}

function terminal(verbose: boolean, progress: Progress): Terminal {
  const environment = process.env;
  const stop = new AbortController();
  const stopBy = (signal: NodeJS.Signals) => stop.abort(new ServingError("CANCELLED", `stopped by ${signal}`));
  // A second one ends the process at once.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stopBy);
  // It comes when a terminal closes, then often twice, and from who takes it for "read your files again": both follow by themselves.
  process.on("SIGHUP", stopBy);
  process.stderr.on("error", () => undefined); // progress to a terminal that was closed
  if (process.connected) {
    // `shardserve up` starts the roles as its children; one that outlives it, however it ended, has no purpose.
    process.once("disconnect", () => stop.abort(new ServingError("CANCELLED", "the parent process ended")));
    process.channel?.unref(); // it keeps nothing alive
  }
  const level = verbose ? "debug" : (environment["SHARDSERVE_LOG_LEVEL"] ?? "info");
  if (!LOG_LEVELS.includes(level))
    throw new ServingError(
      "CONFIG_INVALID",
      `SHARDSERVE_LOG_LEVEL="${level}": must be one of ${LOG_LEVELS.join(", ")}`,
    );
  return {
    print: (line) => console.log(line),
    progress,
    logger: pino(
      { level, base: { pid: process.pid }, serializers: { err: verbose ? stdSerializers.err : briefError } },
      logOutput(2),
    ),
    environment,
    signal: stop.signal,
  };
}
