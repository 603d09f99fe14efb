import type { Etcd3 } from "etcd3";

/**
 * The etcd client of one watch, opened when it is needed. Another takes its place only where etcd has answered on this one: tokens
 * expire, and etcd forgets them when it restarts. For each client that authenticates, etcd3 leaves a connection open that nothing closes,
 * so an outage must not open one for every try.
 */
export class OwnClient {
  readonly #open: () => Etcd3;
  #client: Etcd3 | undefined;

  constructor(open: () => Etcd3) {
    this.#open = open;
  }

  get(): Etcd3 {
    this.#client ??= this.#open();
    return this.#client;
  }

  /** Closes it, in a turn behind the cancellation of what runs on it. */
  drop(): void {
    const client = this.#client;
    this.#client = undefined;
    if (client) setImmediate(() => client.close());
  }

  [Symbol.dispose](): void {
    this.drop();
  }
}
