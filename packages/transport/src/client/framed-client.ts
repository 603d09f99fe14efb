import {
  type Clock,
  type Logger,
  type Random,
  Service,
  ServingError,
  silentLogger,
  systemClock,
  systemRandom,
} from "@shardserve/core";
import { type Address, formatAddress } from "../address/address.js";
import { Backoff, type BackoffOptions, DEFAULT_BACKOFF } from "./backoff.js";
import { BufferPool } from "../frame/buffer-pool.js";
import { ClientSession } from "./client-session.js";
import type { ReplyPayload, RequestOptions } from "./pending-requests.js";
import { PullQueue } from "./pull-queue.js";
import { FRAME } from "../frame/frame.js";
import { DEFAULT_LIMITS, type TransportLimits } from "../limits.js";
import type { MutualTls } from "../address/mutual-tls.js";

/** Least time between two attempts, however much the connection is needed. */
const HURRY_INTERVAL_MS = 50;

/** For {@link FramedClient}. */
export interface FramedClientOptions {
  /** Where to connect; a function is asked before every attempt, undefined = not known now, try later. */
  readonly address: Address | (() => Address | undefined);
  /** Who calls, for the server's log: "executor executor-1". */
  readonly peer: string;
  /** Of each new connection; absent = in clear. */
  readonly tls?: MutualTls | undefined;
  readonly limits?: Partial<TransportLimits>;
  readonly backoff?: BackoffOptions;
  /**
   * Runs on each new connection before it is used: open channels, compare proofs. A throw closes the connection; it is
   * tried again after a backoff.
   */
  readonly handshake?: (session: ClientSession, options: { readonly signal: AbortSignal }) => Promise<void>;
  /** Called when the connection becomes usable (true) or stops to be (false). */
  readonly onStateChange?: (isReady: boolean) => void;
  readonly pool?: BufferPool;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

/**
 * A connection that is kept: `start` begins to connect and returns at once, a lost connection is made again after an
 * exponential backoff with jitter. Requests on a lost connection fail with UNAVAILABLE; they are never sent twice.
 *
 * Beside a connection that owes answers and is silent a second one is made, one at a time. Whichever shows life first is
 * kept: a link that the kernel hardly tries any more after an outage is replaced, a server that is merely slow loses nothing.
 */
export class FramedClient extends Service {
  readonly #options: FramedClientOptions;
  readonly #limits: TransportLimits;
  readonly #pool: BufferPool;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #backoff: Backoff;
  readonly #waiters = new Set<() => void>();
  #session: ClientSession | undefined;
  /** Made beside a silent session, to take its place; defined only while `#session` is ready and suspect. */
  #challenger: ClientSession | undefined;
  #isReady = false;
  #lastError: ServingError | undefined;
  /** Why it is not connected, as it was logged; "" while it is. */
  #loggedReason = "";
  #cancelReconnect: () => void = () => undefined;
  #isWaiting = false;
  #lostAtMs = Number.NEGATIVE_INFINITY;
  #address: Address | undefined;
  #handshakeAbort: AbortController | undefined;

  constructor(options: FramedClientOptions) {
    super();
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#pool = options.pool ?? new BufferPool();
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
    this.#backoff = new Backoff(options.backoff ?? DEFAULT_BACKOFF, options.random ?? systemRandom());
  }

  /** Where the current or last connection goes to, for messages. */
  get where(): string {
    return this.#address ? formatAddress(this.#address) : "a peer without an address";
  }

  /** True while requests can be sent. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Requests without an answer yet. */
  get inFlight(): number {
    return this.#session?.inFlight ?? 0;
  }

  /** Why the last connection ended or could not be made. */
  get lastError(): ServingError | undefined {
    return this.#lastError;
  }

  /** The largest reply that both ends allow, in bytes. */
  get replyBytesMax(): number {
    return Math.min(this.#limits.replyBytesMax, this.#session?.welcome?.replyBytesMax ?? Number.POSITIVE_INFINITY);
  }

  /** The largest LOOKUP request that both ends allow, in bytes. */
  get requestBytesMax(): number {
    return Math.min(this.#limits.requestBytesMax, this.#session?.welcome?.requestBytesMax ?? Number.POSITIVE_INFINITY);
  }

  /**
   * Waits until the connection is usable.
   *
   * @throws ServingError UNAVAILABLE with the last failure when the deadline passes first or the client closes; the signal's reason
   */
  async whenReady(options: RequestOptions = {}): Promise<void> {
    const { signal, deadlineMs } = options;
    while (!this.#isReady) {
      if (signal?.aborted) throw signal.reason;
      const remainingMs = deadlineMs === undefined ? undefined : deadlineMs - this.#clock.nowMs();
      if ((remainingMs !== undefined && remainingMs <= 0) || !this.#isAlive) throw this.#unavailable();
      await new Promise<void>((resolve) => {
        const wake = () => {
          cancelTimer?.();
          signal?.removeEventListener("abort", wake);
          this.#waiters.delete(wake);
          resolve();
        };
        const cancelTimer = remainingMs === undefined ? undefined : this.#clock.after(remainingMs, wake);
        signal?.addEventListener("abort", wake, { once: true });
        this.#waiters.add(wake);
      });
    }
  }

  /** Calls a method once the connection is usable; result and errors as {@link ClientSession.call}. */
  async call(method: string, params: unknown, options: RequestOptions = {}): Promise<unknown> {
    await this.whenReady(options);
    return (this.#session as ClientSession).call(method, params, options);
  }

  /**
   * Reads a stream of pushes; the loop ends when the server ends it and throws when the connection is lost.
   *
   * @throws ServingError RESOURCE_EXHAUSTED when the reader falls `streamItemsMax` items behind; UNAVAILABLE
   */
  async *stream(method: string, params: unknown, options: RequestOptions = {}): AsyncGenerator<unknown, void, void> {
    await this.whenReady(options);
    const queue = new PullQueue(this.#limits.streamItemsMax, method);
    const stop = (this.#session as ClientSession).stream(
      method,
      params,
      (item) => {
        if (!queue.push(item)) stop();
      },
      (error) => queue.end(error),
      options,
    );
    try {
      yield* queue.read();
    } finally {
      stop();
    }
  }

  /**
   * Sends a LOOKUP now; rows, never a wait for a connection.
   *
   * @param payload  the client's from now on: where it came from the client's pool, it is given back
   * @throws ServingError as {@link ClientSession.request}; UNAVAILABLE while not connected
   */
  lookup(payload: Uint8Array, options: RequestOptions): Promise<ReplyPayload> {
    if (!this.#isReady) return Promise.reject(this.#unavailable());
    return (this.#session as ClientSession).request(FRAME.LOOKUP, payload, FRAME.ROWS, options);
  }

  /**
   * As `lookup`, with callbacks, one of which is called once, perhaps at once: an answer that another replica gave first can
   * be given up.
   *
   * @returns gives the request up and tells the server so; nothing is called after it
   */
  ask(
    payload: Uint8Array,
    options: RequestOptions,
    onReply: (reply: ReplyPayload) => void,
    onFail: (error: unknown) => void,
  ): () => void {
    if (!this.#isReady) {
      onFail(this.#unavailable());
      return () => undefined;
    }
    return (this.#session as ClientSession).ask(FRAME.LOOKUP, payload, FRAME.ROWS, options, onReply, onFail);
  }

  /** When the last connection ended, or could not be made, on the clock's `nowMs` scale. */
  get lostAtMs(): number {
    return this.#lostAtMs;
  }

  /** Somebody needs the connection: tries now instead of when the backoff would, unless it was tried a moment ago. */
  hurry(): void {
    if (!this.#isWaiting || !this.#isAlive || this.#clock.nowMs() - this.#lostAtMs < HURRY_INTERVAL_MS) return;
    this.#cancelReconnect();
    this.#connect();
  }

  protected onStart(): Promise<void> {
    this.#connect();
    return Promise.resolve();
  }

  /** Waits for what is in flight, at most `drainMs`. */
  protected async onDrain(drainMs: number): Promise<void> {
    this.#setReady(false);
    this.#cancelReconnect();
    const untilMs = this.#clock.nowMs() + drainMs;
    while (this.inFlight > 0 && this.#clock.nowMs() < untilMs) {
      await new Promise<void>((resolve) => this.#clock.after(5, resolve));
    }
  }

  protected onClose(): Promise<void> {
    this.#handshakeAbort?.abort(new ServingError("UNAVAILABLE", "the client is closed"));
    this.#challenger?.close(new ServingError("UNAVAILABLE", "the client is closed"));
    this.#session?.close(new ServingError("UNAVAILABLE", `the connection to ${this.where} was closed here`));
    for (const wake of this.#waiters) wake();
    return Promise.resolve();
  }

  get #isAlive(): boolean {
    return this.state === "ready" || this.state === "starting";
  }

  #connect(): void {
    this.#isWaiting = false;
    this.#session = this.#dial();
    if (!this.#session) this.#onLost(new ServingError("UNAVAILABLE", "the peer's address is not known yet"));
  }

  /** Begins a connection; undefined while the address is not known. */
  #dial(): ClientSession | undefined {
    const { address } = this.#options;
    this.#address = typeof address === "function" ? address() : address;
    if (this.#address === undefined) return undefined;
    const session: ClientSession = new ClientSession({
      address: this.#address,
      peer: this.#options.peer,
      tls: this.#options.tls,
      limits: this.#limits,
      pool: this.#pool,
      clock: this.#clock,
      logger: this.#logger,
      onClose: (reason) => {
        if (this.#session === session) this.#onLost(reason);
        else if (this.#challenger === session) this.#challenge();
      },
      onGoAway: () => {
        if (this.#session === session) this.#setReady(false);
      },
      onSuspect: (isSuspect) => {
        if (this.#session === session && this.#isReady) this.#onSuspect(isSuspect);
      },
    });
    this.#greet(session).catch((error: unknown) => session.close(ServingError.from(error)));
    return session;
  }

  #onSuspect(isSuspect: boolean): void {
    if (isSuspect) {
      this.#logger.info({ address: this.where }, "a connection owes answers and is silent; making another");
      return this.#challenge();
    }
    this.#cancelReconnect();
    this.#backoff.reset();
    const challenger = this.#challenger;
    this.#challenger = undefined;
    challenger?.close(new ServingError("UNAVAILABLE", "the connection beside it came to life"));
  }

  /** Makes a connection beside the silent one, after a wait: many links fall silent at once. */
  #challenge(): void {
    this.#challenger = undefined;
    if (!this.#isAlive) return;
    this.#cancelReconnect = this.#clock.after(this.#backoff.nextMs(), () => {
      if (!this.#isReady || !this.#isAlive) return;
      this.#challenger = this.#dial();
      if (!this.#challenger) this.#challenge();
    });
  }

  /** The second connection answered, the first did not. */
  #replace(challenger: ClientSession): void {
    const silent = this.#session;
    this.#session = challenger;
    this.#challenger = undefined;
    const text = `the connection to ${this.where} was silent; a new one answered and takes its place`;
    silent?.close(new ServingError("UNAVAILABLE", text));
    this.#logger.info({ address: this.where }, "a silent connection is replaced");
  }

  async #greet(session: ClientSession): Promise<void> {
    await session.open();
    const { handshake } = this.#options;
    if (handshake) {
      const abort = new AbortController();
      this.#handshakeAbort = abort;
      const timeoutMs = this.#limits.handshakeTimeoutMs;
      const cancelTimer = this.#clock.after(timeoutMs, () => {
        abort.abort(new ServingError("UNAVAILABLE", `no handshake within ${timeoutMs} ms`));
      });
      try {
        await handshake(session, { signal: abort.signal });
      } finally {
        cancelTimer();
      }
    }
    if (!this.#isAlive) return;
    if (this.#challenger === session) this.#replace(session);
    if (this.#session !== session) return;
    this.#backoff.reset();
    this.#lastError = undefined;
    if (this.#loggedReason !== "") this.#logger.info({ address: this.where }, "connected again");
    this.#loggedReason = "";
    this.#setReady(true);
  }

  #onLost(reason: ServingError): void {
    this.#cancelReconnect();
    this.#session = this.#challenger;
    this.#challenger = undefined;
    this.#lastError = reason;
    this.#lostAtMs = this.#clock.nowMs();
    this.#setReady(false);
    if (!this.#isAlive || this.#session) return; // another is under way
    this.#isWaiting = true;
    const waitMs = this.#backoff.nextMs();
    const isNews = reason.message !== this.#loggedReason;
    this.#loggedReason = reason.message;
    // A connection comes back by itself; what proves other files does not.
    this.#logger[!isNews ? "debug" : reason.code === "DIGEST_MISMATCH" ? "warn" : "info"](
      { address: this.where, waitMs: Math.round(waitMs), reason: reason.message },
      "reconnecting later",
    );
    this.#cancelReconnect = this.#clock.after(waitMs, () => {
      if (this.#isAlive) this.#connect();
    });
  }

  #setReady(isReady: boolean): void {
    if (this.#isReady === isReady) return;
    this.#isReady = isReady;
    if (isReady) for (const wake of this.#waiters) wake();
    this.#options.onStateChange?.(isReady);
  }

  #unavailable(): ServingError {
    const where = this.where;
    const cause = this.#lastError;
    const text = `${where} is not connected${cause ? `: ${cause.message}` : ""}`;
    return new ServingError(cause?.code === "DIGEST_MISMATCH" ? "DIGEST_MISMATCH" : "UNAVAILABLE", text, { cause });
  }
}
