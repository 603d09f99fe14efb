import { type DescMessage, equals, type MessageShape } from "@shardserve/api";
import type { Clock, Logger, ServingError } from "@shardserve/core";
import { FilePoll } from "../file-poll.js";
import { readTextFile } from "./text-file.js";

/** For {@link ConfigFilePoll}: which file is looked at, how often, and what its contents go to. */
export interface ConfigFilePollOptions<D extends DescMessage> {
  /** What the log calls the file's contents: "model configuration". */
  readonly what: string;
  readonly schema: D;
  readonly path: string;
  /** What the file said when it was applied last. */
  readonly applied: MessageShape<D>;
  /** Pause between looks (--model_config_file_poll_wait_seconds). */
  readonly intervalMs: number;
  readonly apply: (config: MessageShape<D>, options: { readonly signal: AbortSignal }) => Promise<void>;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/**
 * Reads a configuration file in protobuf's text format again and again, and applies it when it changed or could not be
 * applied whole. What is wrong with it is logged, once; what was applied before stays.
 */
export class ConfigFilePoll<D extends DescMessage> extends FilePoll {
  readonly #options: ConfigFilePollOptions<D>;
  /** `null` from when another is tried until it could be applied. */
  #applied: MessageShape<D> | null;

  constructor(options: ConfigFilePollOptions<D>) {
    super(options);
    this.#options = options;
    this.#applied = options.applied;
  }

  protected override async look(signal: AbortSignal): Promise<string | undefined> {
    const { what, schema, path, apply } = this.#options;
    const config = await readTextFile(schema, path);
    if (this.#applied && equals(schema, this.#applied, config)) return undefined;
    this.#applied = null;
    await apply(config, { signal });
    this.#applied = config;
    return `the ${what} was read again and applied`;
  }

  protected override complaintOf(error: ServingError): string {
    return `the ${this.#options.what}: ${error.message}`;
  }
}
