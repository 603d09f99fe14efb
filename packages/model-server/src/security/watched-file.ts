import { readFile } from "node:fs/promises";
import { type Clock, type Logger, ServingError } from "@shardserve/core";
import { FilePoll } from "../file-poll.js";

const INTERVAL_MS = 2000;

export interface WatchedFileOptions<T> {
  readonly path: string;
  /** What the file said when it was read first. */
  readonly text: string;
  /** @throws ServingError when the text is refused; what was in force before stays */
  readonly parse: (text: string, path: string) => T;
  readonly onChange: (value: T) => void;
  /** Pause between looks, default 2000. */
  readonly intervalMs?: number;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/**
 * Looks at a small file again and again and hands on what it says when that has changed. By content, not by notification:
 * mounted secrets are swapped through links that watchers do not see.
 */
export class WatchedFile<T> extends FilePoll {
  readonly #options: WatchedFileOptions<T>;
  #text: string;

  constructor(options: WatchedFileOptions<T>) {
    super({ ...options, intervalMs: options.intervalMs ?? INTERVAL_MS });
    this.#options = options;
    this.#text = options.text;
  }

  protected override async look(): Promise<string | undefined> {
    const { path, parse, onChange } = this.#options;
    const text = await readWatched(path);
    if (text === this.#text) return undefined;
    onChange(parse(text, path));
    this.#text = text;
    return "the file changed and is in force";
  }

  protected override complaintOf(error: ServingError): string {
    return `${error.message}; what was read before stays in force`;
  }
}

/** @throws ServingError NOT_FOUND when the file cannot be read */
export async function readWatched(path: string): Promise<string> {
  return readFile(path, "utf8").catch((cause: unknown) => {
    throw new ServingError("NOT_FOUND", `${path} cannot be read: ${(cause as Error).message}`, { cause });
  });
}
