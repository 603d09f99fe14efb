import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { lookFor } from "./programs.js";

/** libfaketime reads the file anew after so many seconds. */
const NOTICED_AFTER_SECONDS = 1;

/**
 * The wall clock of a process under test, which can jump while it runs; its monotonic clock and its timers go on as they
 * do. Needs libfaketime (Debian's package faketime).
 */
export class ProcessClock {
  /** What the process must be started with. */
  readonly env: Readonly<Record<string, string>>;
  readonly #path: string;

  /** @returns undefined where libfaketime is not installed */
  static create(path: string): ProcessClock | undefined {
    const library = findLibrary();
    return library === undefined ? undefined : new ProcessClock(path, library);
  }

  private constructor(path: string, library: string) {
    this.#path = path;
    this.env = {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: path,
      FAKETIME_CACHE_DURATION: String(NOTICED_AFTER_SECONDS),
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      FAKETIME_DONT_RESET: "1",
    };
    this.setAhead(0);
  }

  /** Sets how far the clock is ahead of the machine's, in seconds; behind it when negative. Noticed within a second. */
  setAhead(seconds: number): void {
    writeFileSync(this.#path, `${seconds < 0 ? "-" : "+"}${Math.abs(seconds)}\n`);
  }
}

function findLibrary(): string | undefined {
  const program = lookFor("faketime");
  if (!program) return undefined;
  const lib = join(dirname(dirname(program.path)), "lib");
  const folders = existsSync(lib) ? readdirSync(lib).filter((name) => name.endsWith("-linux-gnu")) : [];
  return [...folders, "."]
    .map((folder) => join(lib, folder, "faketime/libfaketimeMT.so.1"))
    .find((path) => existsSync(path));
}
