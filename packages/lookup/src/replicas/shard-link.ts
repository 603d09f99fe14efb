import { type Clock, type Logger, type Random, ServingError } from "@shardserve/core";
import {
  type Address,
  type BufferPool,
  type ClientSession,
  FramedClient,
  OPEN_METHOD,
  parseAddress,
  type ProofExpectation,
  readShardProof,
  type ReplyPayload,
  type RequestOptions,
  type ShardProof,
  type TransportLimits,
  verifyProof,
} from "@shardserve/transport";
import { ShardHealth } from "./shard-health.js";

/** Where a shard can be reached, as it registered itself. */
export interface ShardLocation {
  /** Identity of the machine that it runs on; equal to ours = its Unix socket works. */
  readonly machine: string;
  readonly addresses: { readonly tcp?: string; readonly unix?: string };
  /** Failure domain; absent or "" = not known. */
  readonly zone?: string;
}

/** Finds shards; the registry's map follower is one. */
export interface ShardDirectory {
  shard(id: string): ShardLocation | undefined;
}

export interface ShardLinkOptions {
  readonly shard: string;
  readonly directory: ShardDirectory;
  /** Our machine's identity; "" = never use Unix sockets. */
  readonly machine: string;
  /** Who we are, for the shard's log. */
  readonly peer: string;
  readonly expectation: ProofExpectation;
  readonly partitionCount: number;
  readonly pool: BufferPool;
  readonly limits?: Partial<TransportLimits> | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Time for a broken connection to come back, with two or three attempts, before requests fail for it at once. */
const DOWN_AFTER_MS = 300;
/** Pauses between proofs that are asked for to see whether there is more: as long as they bring nothing, each is twice the one before. */
const RENEW_FIRST_MS = 500;
const RENEW_MAX_MS = 30_000;

/**
 * The connection to one shard for one model version. Rows are asked only of partitions whose digest the shard proved on
 * this very connection.
 */
export class ShardLink {
  readonly shard: string;
  /** Rows asked for and not yet here; what replicas are chosen by. */
  rowsInFlight = 0;
  /** How it answered so far, over all its connections. */
  readonly health: ShardHealth;
  readonly #options: ShardLinkOptions;
  readonly #client: FramedClient;
  #proven: Uint8Array;
  #channel = -1;
  #epoch = -1;
  #takesTraces = false;
  #refreshing: Promise<void> | undefined;
  #downSinceMs: number;
  #provenCount = 0;
  #renewPauseMs = RENEW_FIRST_MS;
  #renewAtMs = 0;

  constructor(options: ShardLinkOptions) {
    this.shard = options.shard;
    this.#options = options;
    this.#proven = new Uint8Array(options.partitionCount);
    this.health = new ShardHealth(options.random);
    this.#downSinceMs = options.clock.nowMs();
    this.#client = new FramedClient({
      address: () => this.#locate(),
      peer: options.peer,
      pool: options.pool,
      clock: options.clock,
      random: options.random,
      logger: options.logger,
      ...(options.limits && { limits: options.limits }),
      handshake: async (session, { signal }) => {
        this.#renewSoon();
        this.#accept(await this.#open(session, { signal }));
        this.#takesTraces = session.welcome?.takesTraces ?? false;
        this.health.circuit.reset();
      },
      onStateChange: (isReady) => {
        if (!isReady) this.#downSinceMs = options.clock.nowMs();
      },
    });
  }

  /** Begins to connect. */
  async start(): Promise<void> {
    await this.#client.start();
  }

  /** @param drainMs  how long requests in flight may still take */
  async close(drainMs: number): Promise<void> {
    await this.#client.close({ drainMs });
  }

  /** The shard's failure domain as it registered it; "" = not known. */
  get zone(): string {
    return this.#options.directory.shard(this.shard)?.zone ?? "";
  }

  get isReady(): boolean {
    return this.#client.isReady;
  }

  get inFlight(): number {
    return this.#client.inFlight;
  }

  get lastError(): ServingError | undefined {
    return this.#client.lastError;
  }

  /** Channel for LOOKUP frames of this connection. */
  get channel(): number {
    return this.#channel;
  }

  /** Epoch that the shard last proved. */
  get epoch(): number {
    return this.#epoch;
  }

  /** True when LOOKUP frames of this connection may carry traces. */
  get takesTraces(): boolean {
    return this.#takesTraces;
  }

  get replyBytesMax(): number {
    return this.#client.replyBytesMax;
  }

  get requestBytesMax(): number {
    return this.#client.requestBytesMax;
  }

  /**
   * True when a moment's wait will not bring a connection: there has been none for a while, and one more attempt failed, or
   * does not come to an end, since somebody began to need it.
   */
  isDown(nowMs: number, neededSinceMs: number): boolean {
    if (this.#client.isReady || nowMs - this.#downSinceMs < DOWN_AFTER_MS) return false;
    return this.#client.lostAtMs >= neededSinceMs || nowMs - neededSinceMs >= DOWN_AFTER_MS;
  }

  /** Somebody needs the connection: it is tried now. */
  hurry(): void {
    this.#client.hurry();
  }

  /** True when rows of the partition may be asked for now. */
  holds(partition: number): boolean {
    return this.#client.isReady && this.#proven[partition] === 1;
  }

  whenReady(options: RequestOptions): Promise<void> {
    return this.#client.whenReady(options);
  }

  /**
   * Sends one LOOKUP now; one of the callbacks is called, perhaps at once. Payload and errors as FramedClient.lookup.
   *
   * @returns gives it up and tells the shard so: nothing is called after it
   */
  ask(
    payload: Uint8Array,
    options: RequestOptions,
    onReply: (reply: ReplyPayload) => void,
    onFail: (error: unknown) => void,
  ): () => void {
    return this.#client.ask(payload, options, onReply, onFail);
  }

  /** Asks for a new proof: the shard may hold more partitions than when the connection was made. Never throws. */
  refresh(): Promise<void> {
    if (!this.#client.isReady) return Promise.resolve();
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** {@link refresh} for whoever asks again and again: ever more seldom while proofs bring nothing new. */
  async refreshSeldom(): Promise<void> {
    const nowMs = this.#options.clock.nowMs();
    if (!this.#client.isReady || nowMs < this.#renewAtMs) return;
    this.#renewAtMs = nowMs + this.#renewPauseMs;
    this.#renewPauseMs = Math.min(RENEW_MAX_MS, 2 * this.#renewPauseMs);
    await this.refresh();
  }

  #renewSoon(): void {
    this.#renewPauseMs = RENEW_FIRST_MS;
    this.#renewAtMs = 0;
  }

  async #refresh(): Promise<void> {
    const { clock, logger } = this.#options;
    try {
      this.#accept(await this.#open(this.#client, { deadlineMs: clock.nowMs() + 5_000 }));
    } catch (error) {
      if (ServingError.from(error).code === "DIGEST_MISMATCH") this.#proven = new Uint8Array(this.#proven.length);
      logger.warn({ shard: this.shard, error: ServingError.from(error).message }, "a shard's proof was not renewed");
    }
  }

  async #open(caller: Pick<ClientSession, "call">, options: RequestOptions): Promise<ShardProof> {
    const { cluster, model, version } = this.#options.expectation;
    return readShardProof(await caller.call(OPEN_METHOD, { cluster, model, version }, options));
  }

  #accept(proof: ShardProof): void {
    if (proof.shard !== this.shard) {
      const text = `${this.#client.where} is shard ${proof.shard}, expected ${this.shard}; it is not used`;
      throw new ServingError("DIGEST_MISMATCH", text);
    }
    verifyProof(proof, this.#options.expectation);
    const proven = new Uint8Array(this.#options.partitionCount);
    for (const partition of proof.partitions) proven[partition] = 1;
    if (proof.partitions.length !== this.#provenCount) this.#renewSoon();
    this.#provenCount = proof.partitions.length;
    this.#proven = proven;
    this.#channel = proof.channel;
    this.#epoch = proof.epoch;
  }

  #locate(): Address | undefined {
    const location = this.#options.directory.shard(this.shard);
    if (!location) return undefined;
    const { tcp, unix } = location.addresses;
    if (unix !== undefined && this.#options.machine !== "" && location.machine === this.#options.machine) {
      return { path: unix };
    }
    return tcp === undefined ? undefined : parseAddress(tcp);
  }
}
