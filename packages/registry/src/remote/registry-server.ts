import { type Clock, type Logger, ServingError } from "@shardserve/core";
import { type Address, FramedServer, type StreamContext } from "@shardserve/transport";
import { MemoryRegistry } from "../memory/memory-registry.js";
import { MemoryStore } from "../memory/memory-store.js";
import { RecordReader } from "../records/record-reader.js";
import { readCompares, readOperations } from "./registry-wire.js";

/** For {@link RegistryServer}. */
export interface RegistryServerOptions {
  readonly listen: readonly Address[];
  /** State to serve; absent = a new one. The same store may be used in this process as well. */
  readonly store?: MemoryStore;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/** Longest lease that a client may ask for, in seconds. */
const TTL_SECONDS_MAX = 3600;

/** Serves a registry in memory to other processes of this machine. When it ends, what it held is gone. */
export class RegistryServer extends FramedServer {
  readonly store: MemoryStore;
  readonly #ownsStore: boolean;

  constructor(options: RegistryServerOptions) {
    const store = options.store ?? new MemoryStore(options.clock ? { clock: options.clock } : {});
    const local = new MemoryRegistry({ store });
    const read = (params: unknown, method: string) => new RecordReader(params, `registry ${method}`);
    super({
      peer: "registry",
      listen: options.listen,
      ...(options.clock && { clock: options.clock }),
      ...(options.logger && { logger: options.logger }),
      calls: {
        get: (params) => store.get(read(params, "get").text("key")) ?? null,
        list: (params) => store.list(read(params, "list").text("prefix")),
        txn: (params) => {
          const reader = read(params, "txn");
          return store.txn(readCompares(reader), readOperations(reader));
        },
        grant: (params) => store.grantLease(read(params, "grant").integer("ttlSeconds", 1, TTL_SECONDS_MAX)),
        keepAlive: (params) => store.keepAlive(read(params, "keepAlive").text("id")),
        keysOfLease: (params) => ({ keys: store.keysOfLease(read(params, "keysOfLease").text("id")) ?? null }),
        revoke: (params) => {
          store.revokeLease(read(params, "revoke").text("id"));
          return null;
        },
      },
      streams: { watch: (params, context) => pushWatch(local, read(params, "watch").text("prefix"), context) },
    });
    this.store = store;
    this.#ownsStore = options.store === undefined;
  }

  protected override async onClose(): Promise<void> {
    await super.onClose();
    if (this.#ownsStore) this.store.close();
  }
}

/** A reader that is too slow for its connection gets its stream ended; it opens another and begins with a snapshot. */
async function pushWatch(registry: MemoryRegistry, prefix: string, context: StreamContext): Promise<void> {
  for await (const event of registry.watch(prefix, { signal: context.signal })) context.push(event);
  if (!context.signal.aborted) throw new ServingError("DRAINING", "the registry is closing");
}
