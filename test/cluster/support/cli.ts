import { execFile } from "node:child_process";
import { join } from "node:path";
import { launch, type LaunchedProcess, type NetworkHost, REPO_DIR } from "@shardserve/testkit";

/** The built command-line program. */
export const SHARDSERVE = join(REPO_DIR, "packages/cli/bin/shardserve.js");

export interface CliResult {
  /** Exit code; -1 when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end and hands back what it printed; never rejects. */
export function cli(...args: readonly string[]): Promise<CliResult> {
  return cliIn({}, ...args);
}

/** The same with these variables added to its environment. */
export function cliIn(added: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<CliResult> {
  return new Promise((resolve) => {
    const env = { ...process.env, ...added };
    const options = { encoding: "utf8" as const, timeout: 60_000, maxBuffer: 64 * 2 ** 20, env };
    execFile(process.execPath, [SHARDSERVE, ...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

/**
 * Runs a command with `--json`.
 *
 * @throws Error with its standard error when it fails or prints no JSON
 */
export async function cliJson<T>(...args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await cli(...args, "--json");
  if (code !== 0) throw new Error(`shardserve ${args.join(" ")} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

/** Starts a command that runs until it is stopped. */
export function startCli(...args: readonly string[]): LaunchedProcess {
  return startCliIn({}, ...args);
}

/** The same with these variables added to its environment. */
export function startCliIn(env: Readonly<Record<string, string>>, ...args: readonly string[]): LaunchedProcess {
  return launch(process.execPath, { args: [SHARDSERVE, ...args], env });
}

/** The same on a host of a test network. */
export function startCliOn(
  host: NetworkHost,
  env: Readonly<Record<string, string>>,
  ...args: readonly string[]
): LaunchedProcess {
  return host.launch(process.execPath, { args: [SHARDSERVE, ...args], env });
}
