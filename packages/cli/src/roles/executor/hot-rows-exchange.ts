import { type Logger, Service } from "@shardserve/core";
import { createHotRowsServer, type HottestIds } from "@shardserve/lookup";
import type { Registry } from "@shardserve/registry";
import type { ServableId } from "@shardserve/servable";
import { type Address, type FramedServer, type MutualTls, parseAddress } from "@shardserve/transport";
import { type FollowedFile, readIfNamed } from "../flags/guard-flags.js";
import { findHotRows, type HotRowsSource, parsePeerTls } from "./peer-executors.js";

export interface HotRowsExchangeOptions {
  readonly registry: Registry;
  /** What a version that is served here is asked for most; undefined = it is not served. */
  readonly hottestOf: (model: string, version: number) => HottestIds | undefined;
  readonly logger: Logger;
}

/**
 * Executors that start ask those that run which rows are wanted most: this one asks, and answers where the flags say so. Its
 * certificates are followed while it runs.
 */
export class HotRowsExchange extends Service {
  readonly #id: string;
  readonly #options: HotRowsExchangeOptions;
  /** undefined = nobody may ask here. */
  readonly #server: FramedServer | undefined;
  readonly #tlsFile: Service | undefined;
  #tls: MutualTls | undefined;

  /** @throws ServingError CONFIG_INVALID, NOT_FOUND when the file of certificates is bad */
  static async open(
    flags: { readonly id: string; readonly peerListen: string; readonly peerSslConfigFile: string },
    options: HotRowsExchangeOptions,
  ): Promise<HotRowsExchange> {
    const listen = flags.peerListen === "" ? undefined : parseAddress(flags.peerListen);
    return new HotRowsExchange(flags.id, listen, await readIfNamed(flags.peerSslConfigFile, parsePeerTls), options);
  }

  private constructor(
    id: string,
    listen: Address | undefined,
    tls: FollowedFile<MutualTls> | undefined,
    options: HotRowsExchangeOptions,
  ) {
    super();
    const { hottestOf, logger } = options;
    this.#id = id;
    this.#options = options;
    this.#tls = tls?.value;
    this.#server =
      listen && createHotRowsServer({ peer: `executor ${id}`, listen, tls: tls?.value, hottestOf, logger });
    this.#tlsFile = tls?.watch((next) => {
      this.#tls = next;
      this.#server?.replaceTls(next);
    }, logger);
  }

  /** Where others may ask, once started; undefined = nowhere. */
  get address(): Address | undefined {
    return this.#server?.addresses[0];
  }

  /** Whom to ask about a version; see {@link findHotRows}. */
  find(id: ServableId, signal: AbortSignal): Promise<HotRowsSource | undefined> {
    const { registry, logger } = this.#options;
    return findHotRows(registry, this.#id, id, { tls: this.#tls, signal, logger });
  }

  protected override async onStart(signal: AbortSignal): Promise<void> {
    await this.#server?.start({ signal });
    await this.#tlsFile?.start({ signal });
  }

  protected override async onDrain(): Promise<void> {}

  protected override async onClose(): Promise<void> {
    await this.#tlsFile?.close();
    await this.#server?.close();
  }
}
