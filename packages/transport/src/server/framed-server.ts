import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import type { Server as TlsServer } from "node:tls";
import { type Clock, type Logger, Service, ServingError, silentLogger, systemClock } from "@shardserve/core";
import { type Address, formatAddress } from "../address/address.js";
import { BufferPool } from "../frame/buffer-pool.js";
import { DEFAULT_LIMITS, type TransportLimits } from "../limits.js";
import { createTlsServer, type MutualTls, secureContextOf } from "../address/mutual-tls.js";
import { claimSocketPath } from "../address/socket-path.js";
import { type CallHandler, type LookupHandler, ServerConnection, type StreamHandler } from "./server-connection.js";

/** For {@link FramedServer}. */
export interface FramedServerOptions {
  /** Who answers, told to clients in WELCOME: "shard shard-0". */
  readonly peer: string;
  readonly listen: readonly Address[];
  readonly limits?: Partial<TransportLimits>;
  /** Absent = in clear, and whoever reaches it may call. */
  readonly tls?: MutualTls;
  /** Methods by name; a result must be encodable as msgpack, a throw becomes the caller's error. */
  readonly calls?: Readonly<Record<string, CallHandler>>;
  readonly streams?: Readonly<Record<string, StreamHandler>>;
  readonly lookup?: LookupHandler;
  /**
   * Called when all lookups that arrived together, in one chunk of a connection, were handed to `lookup`: what it put off
   * is to be answered now. Must not throw.
   */
  readonly afterLookups?: () => void;
  /** Callers may send the traces of their lookups; default false. */
  readonly takesTraces?: boolean;
  readonly pool?: BufferPool;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/** Serves frames on TCP and Unix sockets. Draining sends GOAWAY and finishes what is in flight. */
export class FramedServer extends Service {
  readonly #options: FramedServerOptions;
  readonly #limits: TransportLimits;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #pool: BufferPool;
  readonly #servers: (Server | TlsServer)[] = [];
  readonly #connections = new Set<ServerConnection>();
  readonly #addresses: Address[] = [];

  constructor(options: FramedServerOptions) {
    super();
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
    this.#pool = options.pool ?? new BufferPool();
  }

  /** Where it listens, with the ports that were really bound. */
  get addresses(): readonly Address[] {
    return this.#addresses;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Requests without an answer yet, over all connections. */
  get inFlight(): number {
    let count = 0;
    for (const connection of this.#connections) count += connection.inFlight;
    return count;
  }

  /** Buffers of this server: replies taken from it are recycled. */
  get pool(): BufferPool {
    return this.#pool;
  }

  /** Certificates for connections from now on; only of a server that was given some. */
  replaceTls(tls: MutualTls): void {
    for (const server of this.#servers) if ("setSecureContext" in server) server.setSecureContext(secureContextOf(tls));
  }

  protected async onStart(): Promise<void> {
    for (const address of this.#options.listen) await this.#listen(address);
  }

  protected async onDrain(drainMs: number): Promise<void> {
    for (const server of this.#servers) server.close();
    for (const connection of this.#connections) connection.drain();
    const untilMs = this.#clock.nowMs() + drainMs;
    while (this.#hasWork() && this.#clock.nowMs() < untilMs) {
      await new Promise<void>((resolve) => this.#clock.after(5, resolve));
    }
  }

  protected async onClose(): Promise<void> {
    for (const connection of this.#connections) connection.destroy();
    await Promise.all(
      this.#servers.map((server) => new Promise<void>((resolve) => void server.close(() => resolve()))),
    );
  }

  #hasWork(): boolean {
    for (const connection of this.#connections) if (connection.inFlight > 0 || connection.pendingBytes > 0) return true;
    return false;
  }

  async #listen(address: Address): Promise<void> {
    const { tls } = this.#options;
    const options = { noDelay: true, keepAlive: true };
    const accept = (socket: Socket) => this.#accept(socket);
    const server = tls
      ? createTlsServer(tls, { ...options, handshakeTimeout: this.#limits.handshakeTimeoutMs }, accept, this.#logger)
      : createServer(options, accept);
    this.#servers.push(server);
    if ("path" in address) await claimSocketPath(address.path);
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => {
        reject(new ServingError("UNAVAILABLE", `cannot listen on ${formatAddress(address)}: ${error.message}`));
      });
      server.listen(address, () => resolve());
    });
    server.on("error", (error) => this.#logger.error({ error: error.message }, "listening socket failed"));
    const bound = server.address();
    this.#addresses.push("path" in address ? address : { host: address.host, port: (bound as AddressInfo).port });
  }

  #accept(socket: Socket): void {
    if (
      this.#connections.size >= this.#limits.connectionsMax ||
      (this.state !== "ready" && this.state !== "starting")
    ) {
      socket.destroy();
      return;
    }
    this.#connections.add(
      new ServerConnection(socket, {
        peer: this.#options.peer,
        limits: this.#limits,
        pool: this.#pool,
        clock: this.#clock,
        logger: this.#logger,
        calls: this.#options.calls ?? {},
        streams: this.#options.streams ?? {},
        lookup: this.#options.lookup,
        afterLookups: this.#options.afterLookups,
        takesTraces: this.#options.takesTraces ?? false,
        onClose: (connection) => this.#connections.delete(connection),
      }),
    );
  }
}
