import { connect, createServer, type Server, type Socket } from "node:net";

/** Which bytes a proxy does not pass on: what clients send, what servers answer, or both. */
export type DarkSide = "requests" | "replies" | "both";

/** TCP sends again what got lost after at least this long (RFC 6298 as Linux has it), and what follows waits behind it. */
const SENT_AGAIN_MS = 200;

/** Smaller chunks are heads and control messages. */
const FLIPPED_BYTES_MIN = 256;

/**
 * A TCP proxy between a client and a server under test that can misbehave: delay bytes, cut connections, refuse new ones,
 * go dark (accept and pass nothing on, as a lost network does) on both sides
 * or one, or lose packets.
 */
export class TcpProxy implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;
  readonly #state: ProxyState;

  /**
   * @param target  where connections go; a host and port or the path of a Unix socket
   * @param listen  default any free port of 127.0.0.1
   */
  static start(
    target: { readonly host: string; readonly port: number } | { readonly path: string },
    listen: { readonly host: string; readonly port: number } = { host: "127.0.0.1", port: 0 },
  ): Promise<TcpProxy> {
    const sockets = new Set<Socket>();
    const state: ProxyState = {
      delayMs: 0,
      lostOneOf: 0,
      dark: undefined,
      isRefusing: false,
      isFlipping: false,
      bytes: 0,
      darkAtBytes: Number.POSITIVE_INFINITY,
    };
    const server = createServer({ allowHalfOpen: false }, (near) => {
      if (state.isRefusing) return near.destroy();
      const far = connect(target);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        const pipe = new Pipe(state, from, to, from === near ? "requests" : "replies");
        sockets.add(from);
        from.setNoDelay(true);
        from.on("data", (chunk) => {
          if (state.isFlipping && from === far && chunk.length >= FLIPPED_BYTES_MIN) {
            chunk[chunk.length - 8] = (chunk[chunk.length - 8] as number) ^ 0x10;
          }
          pipe.forward(chunk);
        });
        from.on("error", () => undefined); // "close" follows and ends the other side
        from.on("close", () => {
          sockets.delete(from);
          to.destroy();
        });
      }
    });
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(listen.port, listen.host, () => {
        const address = server.address();
        if (typeof address === "object" && address) resolve(new TcpProxy(address.port, server, sockets, state));
        else reject(new Error("the proxy got no port"));
      });
    });
  }

  private constructor(port: number, server: Server, sockets: Set<Socket>, state: ProxyState) {
    this.port = port;
    this.#server = server;
    this.#sockets = sockets;
    this.#state = state;
  }

  /** Bytes passed on, both ways. */
  get bytes(): number {
    return this.#state.bytes;
  }

  /** Every chunk waits this long; 0 = not at all. Order is kept. */
  setDelay(delayMs: number): void {
    this.#state.delayMs = delayMs;
  }

  /** One chunk of so many gets lost and is sent again; 0 = none. */
  setLoss(lostOneOf: number): void {
    this.#state.lostOneOf = lostOneOf;
  }

  /** Goes dark or comes back: bytes that arrive meanwhile are lost, so connections that lived through it are cut on return. */
  setDark(isDark: boolean, side: DarkSide = "both"): void {
    if (this.#state.dark && !isDark) this.cut();
    this.#state.dark = isDark ? side : undefined;
  }

  /**
   * Connections that are open now carry nothing any more and stay open, new ones work: so it is for a while after a network
   * healed, when kernels send again what they lost ever more seldom.
   */
  strand(): void {
    for (const socket of this.#sockets) socket.removeAllListeners("data").resume();
  }

  /** Goes dark as soon as so many bytes more are passed on. */
  setDarkAfter(bytes: number): void {
    this.#state.darkAtBytes = this.#state.bytes + bytes;
  }

  /** While set, one bit of every larger chunk from the target is flipped: damage that no checksum of files can see. */
  setFlipping(isFlipping: boolean): void {
    this.#state.isFlipping = isFlipping;
  }

  get isDark(): boolean {
    return this.#state.dark !== undefined;
  }

  /** New connections are closed at once while set. */
  setRefusing(isRefusing: boolean): void {
    this.#state.isRefusing = isRefusing;
  }

  /** Cuts all connections that are open now. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  stop(): Promise<void> {
    this.cut();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

interface ProxyState {
  delayMs: number;
  lostOneOf: number;
  dark: DarkSide | undefined;
  isRefusing: boolean;
  isFlipping: boolean;
  bytes: number;
  darkAtBytes: number;
}

/** One direction of a connection. */
class Pipe {
  readonly #state: ProxyState;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #side: DarkSide;
  readonly #waiting: { readonly chunk: Buffer; readonly atMs: number }[] = [];
  #chunkCount = 0;

  constructor(state: ProxyState, from: Socket, to: Socket, side: DarkSide) {
    this.#state = state;
    this.#from = from;
    this.#to = to;
    this.#side = side;
  }

  /** Passes a chunk on, now or later, never before those that came before it. */
  forward(chunk: Buffer): void {
    const { delayMs, lostOneOf } = this.#state;
    if (this.#isDark) return;
    const isLost = lostOneOf > 0 && ++this.#chunkCount % lostOneOf === 0;
    const waitMs = delayMs + (isLost ? SENT_AGAIN_MS : 0);
    if (waitMs === 0 && this.#waiting.length === 0) return this.#send(chunk);
    this.#waiting.push({ chunk, atMs: performance.now() + waitMs });
    if (this.#waiting.length === 1) this.#wait();
  }

  #wait(): void {
    const [first] = this.#waiting;
    if (!first) return;
    setTimeout(
      () => {
        this.#waiting.shift();
        this.#send(first.chunk);
        this.#wait();
      },
      Math.max(0, first.atMs - performance.now()),
    );
  }

  get #isDark(): boolean {
    const { dark } = this.#state;
    return dark === "both" || dark === this.#side;
  }

  #send(chunk: Buffer): void {
    if (this.#isDark || this.#to.destroyed) return;
    this.#state.bytes += chunk.length;
    if (this.#state.bytes >= this.#state.darkAtBytes) {
      this.#state.dark = "both";
      this.#state.darkAtBytes = Number.POSITIVE_INFINITY;
    }
    if (this.#to.write(chunk)) return;
    this.#from.pause();
    this.#to.once("drain", () => this.#from.resume());
  }
}
