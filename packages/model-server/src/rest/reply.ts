import type { ServerResponse } from "node:http";
import type { GrpcStatusName } from "@shardserve/core";

/** Names and values in turns, as Node takes them without looking each one up. */
export type HeaderList = readonly string[];

/** A buffer and its headers are two pieces for the system to write; up to here they are joined instead, as Node joins strings with headers. */
const JOINED_BYTES_MAX = 8 * 1024;

/** The one answer to a request, written with its headers at once; tells when it is over for this server. */
export class Reply {
  readonly #response: ServerResponse;
  readonly #headers: () => HeaderList;
  #isOver = false;
  #onOver: (() => void) | undefined;

  /** @param headers  that the answer has whatever it says; asked for when it is sent, which may be long after the request */
  constructor(response: ServerResponse, headers: () => HeaderList) {
    this.#response = response;
    this.#headers = headers;
    response.on("error", () => undefined); // the client went: "close" follows
    response.on("close", () => {
      this.#isOver = true;
      this.#onOver?.();
    });
  }

  /** Replaces what is called once the answer was handed to the system, or the client is gone; at once where that is so already. */
  onOver(callback: () => void): void {
    if (this.#isOver) callback();
    else this.#onOver = callback;
  }

  /**
   * To nobody, where the client is gone.
   *
   * @param whenToEnd  calls back when the connection may be closed; absent = at once
   */
  send(
    status: number,
    contentType: string,
    body: Buffer | string,
    headers: HeaderList = [],
    whenToEnd?: (end: () => void) => void,
  ): void {
    if (this.#response.destroyed) return;
    const length = String(Buffer.byteLength(body));
    const all = [...this.#headers(), ...headers, "Content-Type", contentType, "Content-Length", length];
    this.#response.writeHead(status, all);
    if (whenToEnd) {
      this.#response.write(body);
      whenToEnd(() => this.#response.end());
    } else if (typeof body === "string" || body.length > JOINED_BYTES_MAX) this.#response.end(body);
    else this.#response.end(body.toString("latin1"), "latin1"); // a byte a character, and back: whatever the bytes are
  }
}

/** What HTTP wants with a 401. */
export function challengeOf(status: GrpcStatusName): HeaderList {
  return status === "UNAUTHENTICATED" ? ["WWW-Authenticate", "Bearer"] : [];
}

export function errorBody(message: string): string {
  return JSON.stringify({ error: message }, null, 4);
}
