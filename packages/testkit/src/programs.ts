import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { ServingError } from "@shardserve/core";
import { CACHE_DIR } from "./repository.js";

/** A real program that tests start, and the Debian package that has it. */
interface Program {
  readonly binary: string;
  readonly debianPackage: string;
  /** The tests that need it are skipped, aloud, where it cannot be had. */
  readonly isOptional?: boolean;
}

const PROGRAMS: readonly Program[] = [
  { binary: "etcd", debianPackage: "etcd-server" },
  { binary: "redis-server", debianPackage: "redis-server" },
  { binary: "faketime", debianPackage: "faketime", isOptional: true },
  { binary: "strace", debianPackage: "strace", isOptional: true },
  { binary: "ip", debianPackage: "iproute2", isOptional: true },
];

/** Where Debian packages are unpacked when they cannot be installed. */
const UNPACKED_DIR = join(CACHE_DIR, "debian");

/** How to start a program: its path, and the environment that an unpacked one needs to find its libraries. */
export interface FoundProgram {
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Finds a program on PATH or among the unpacked packages.
 *
 * @throws ServingError DEPENDENCY_MISSING saying how to get it
 */
export function findProgram(binary: string): FoundProgram {
  const found = lookFor(binary);
  if (found) return found;
  throw missing([PROGRAMS.find((program) => program.binary === binary) ?? { binary, debianPackage: binary }]);
}

/**
 * Makes sure that etcd and redis-server are there, and the others if possible: on PATH, unpacked before, installed by apt (as root), or downloaded
 * with apt and unpacked into the cache folder (as anybody else).
 *
 * @throws ServingError DEPENDENCY_MISSING saying what was tried and what to do
 */
export function ensureServices(log: (line: string) => void = console.log): void {
  const absent = PROGRAMS.filter((program) => !lookFor(program.binary));
  if (absent.length === 0) return;
  const names = absent.map((program) => program.debianPackage);
  const failures: string[] = [];
  const attempt = (what: string, install: () => void): boolean => {
    log(`${names.join(", ")} missing: ${what}`);
    try {
      install();
    } catch (error) {
      failures.push(`${what}: ${(error as Error).message}`);
    }
    return absent.every((program) => lookFor(program.binary));
  };
  if (process.getuid?.() === 0 && attempt("installing with apt-get", () => installAsRoot(names))) return;
  if (attempt(`unpacking Debian packages into ${UNPACKED_DIR}`, () => unpack(names))) return;
  const needed = absent.filter(({ binary, isOptional }) => !isOptional && !lookFor(binary));
  if (needed.length > 0) throw missing(needed, failures);
}

/** @returns undefined where it is neither on PATH nor among the unpacked packages */
export function lookFor(binary: string): FoundProgram | undefined {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const path = join(folder, binary);
    if (folder !== "" && isExecutable(path)) return { path, env: {} };
  }
  const path = join(UNPACKED_DIR, "usr/bin", binary);
  if (!isExecutable(path)) return undefined;
  const libraries = ["usr/lib", "lib"]
    .map((folder) => join(UNPACKED_DIR, folder))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => [folder, ...subfolders(folder)]);
  return {
    path,
    env: { LD_LIBRARY_PATH: [...libraries, process.env.LD_LIBRARY_PATH ?? ""].filter(Boolean).join(":") },
  };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function subfolders(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((item) => item.isDirectory() && item.name.endsWith("-linux-gnu"))
    .map((item) => join(folder, item.name));
}

function installAsRoot(packages: readonly string[]): void {
  const install = ["install", "-y", "-q", "--no-install-recommends", ...packages];
  try {
    command("apt-get", install);
  } catch {
    command("apt-get", ["update", "-q"]); // no package lists yet, or stale ones
    command("apt-get", install);
  }
}

/** Needs no rights: apt's state lives in the cache folder, nothing is installed, only unpacked. */
function unpack(packages: readonly string[]): void {
  const lists = join(CACHE_DIR, "apt/lists");
  const archives = join(CACHE_DIR, "apt/archives");
  for (const folder of [join(lists, "partial"), archives, UNPACKED_DIR]) mkdirSync(folder, { recursive: true });
  const state = ["-o", `Dir::State::lists=${lists}`, "-o", `Dir::Cache=${join(CACHE_DIR, "apt")}`];
  command("apt-get", [...state, "update", "-q"]);
  const wanted = new Set(packages);
  for (const name of packages) {
    const listing = command("apt-cache", [...state, "depends", "--recurse", "--important", name]);
    for (const [, dependency] of listing.matchAll(/^([a-z0-9][a-z0-9.+-]*)$/gm)) {
      // Part of the same program always (redis-server's binary is in redis-tools), libraries where the system has none.
      const isNeeded =
        dependency && (/^(redis|etcd)-/.test(dependency) || (dependency.startsWith("lib") && !isInstalled(dependency)));
      if (isNeeded) wanted.add(dependency);
    }
  }
  command("apt-get", [...state, "download", "-q", ...wanted], archives);
  for (const file of readdirSync(archives).filter((name) => name.endsWith(".deb"))) {
    command("dpkg", ["-x", join(archives, file), UNPACKED_DIR]);
  }
}

function isInstalled(name: string): boolean {
  const { stdout, status } = spawnSync("dpkg-query", ["-W", "-f", "${db:Status-Status}", name], { encoding: "utf8" });
  return status === 0 && stdout.includes("installed") && !stdout.includes("not-installed");
}

function command(program: string, args: readonly string[], cwd?: string): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: "utf8",
    timeout: 5 * 60_000,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    ...(cwd !== undefined && { cwd }),
  });
  if (error) throw new Error(`${program}: ${error.message}`);
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${status}: ${stderr.trim().slice(-500)}`);
  return stdout;
}

function missing(programs: readonly Program[], failures: readonly string[] = []): ServingError {
  const binaries = programs.map((program) => program.binary).join(" and ");
  const packages = programs.map((program) => program.debianPackage).join(" ");
  return new ServingError(
    "DEPENDENCY_MISSING",
    [
      `the tests start ${binaries}, found neither on PATH nor in ${UNPACKED_DIR}.`,
      ...failures.map((failure) => `  tried: ${failure}`),
      `  Debian or Ubuntu: sudo apt-get install ${packages}`,
      `  elsewhere: put ${binaries} on PATH, then run again`,
    ].join("\n"),
  );
}
