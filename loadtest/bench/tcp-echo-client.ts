import { connect, type Socket } from "node:net";

/** The client of tcp-echo.ts: sends (request bytes, reply bytes) and waits for that many bytes: what loopback TCP in Node leaves to anybody. */
export class EchoClient {
  readonly #socket: Socket;
  readonly #waiting: { leftBytes: number; readonly resolve: () => void }[] = [];

  constructor(port: number) {
    const buffer = Buffer.allocUnsafeSlow(256 * 1024);
    this.#socket = connect({
      port,
      host: "127.0.0.1",
      noDelay: true,
      onread: { buffer, callback: (byteCount) => this.#take(byteCount) },
    });
  }

  call(requestBytes: number, replyBytes: number): Promise<void> {
    const request = Buffer.alloc(8 + requestBytes);
    request.writeUInt32LE(requestBytes, 0);
    request.writeUInt32LE(replyBytes, 4);
    this.#socket.write(request);
    return new Promise((resolve) => this.#waiting.push({ leftBytes: replyBytes, resolve }));
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(byteCount: number): boolean {
    let left = byteCount;
    for (let head = this.#waiting[0]; head && left > 0; head = this.#waiting[0]) {
      const taken = Math.min(left, head.leftBytes);
      head.leftBytes -= taken;
      left -= taken;
      if (head.leftBytes > 0) break;
      this.#waiting.shift();
      head.resolve();
    }
    return true;
  }
}
