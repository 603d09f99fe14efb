import { connect, createServer, type Server, type Socket } from "node:net";

/** Smaller chunks are heads and control messages. */
const FLIPPED_BYTES_MIN = 256;

/**
 * A TCP proxy between a client and a server under test that can misbehave: delay bytes, cut connections, refuse new ones,
 * or go dark (accept and pass nothing on, as a lost network does).
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
    const state: ProxyState = { delayMs: 0, isDark: false, isRefusing: false, isFlipping: false, bytes: 0 };
    const server = createServer({ allowHalfOpen: false }, (near) => {
      if (state.isRefusing) return near.destroy();
      const far = connect(target);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        sockets.add(from);
        from.setNoDelay(true);
        from.on("data", (chunk) => {
          if (state.isFlipping && from === far && chunk.length >= FLIPPED_BYTES_MIN) {
            chunk[chunk.length - 8] = (chunk[chunk.length - 8] as number) ^ 0x10;
          }
          forward(state, chunk, from, to);
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

  /** Goes dark or comes back: bytes that arrive meanwhile are lost, so connections that lived through it are cut on return. */
  setDark(isDark: boolean): void {
    if (this.#state.isDark && !isDark) this.cut();
    this.#state.isDark = isDark;
  }

  /** While set, one bit of every larger chunk from the target is flipped: damage that no checksum of files can see. */
  setFlipping(isFlipping: boolean): void {
    this.#state.isFlipping = isFlipping;
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
  isDark: boolean;
  isRefusing: boolean;
  isFlipping: boolean;
  bytes: number;
}

function forward(state: ProxyState, chunk: Buffer, from: Socket, to: Socket): void {
  if (state.isDark) return;
  const send = () => {
    if (state.isDark || to.destroyed) return;
    state.bytes += chunk.length;
    if (to.write(chunk)) return;
    from.pause();
    to.once("drain", () => from.resume());
  };
  if (state.delayMs > 0) setTimeout(send, state.delayMs);
  else send();
}
