import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";

/**
 * Responses that wait behind others of their connection, because the client sends requests without waiting for answers. Node tells
 * such a response nothing of the connection's end, so its request would be under way for ever.
 */
export class QueuedResponses {
  readonly #bySocket = new WeakMap<Socket, Set<ServerResponse>>();

  /** When the connection ends before the response's turn comes, the response is destroyed and emits `close`. */
  watch(response: ServerResponse, socket: Socket): void {
    if (response.socket) return; // it is its turn: Node tells it
    const queued = this.#bySocket.get(socket) ?? this.#begin(socket);
    queued.add(response);
    response.once("socket", () => queued.delete(response));
  }

  #begin(socket: Socket): Set<ServerResponse> {
    const queued = new Set<ServerResponse>();
    this.#bySocket.set(socket, queued);
    socket.once("close", () => {
      for (const response of queued) {
        response.destroy();
        response.emit("close");
      }
    });
    return queued;
  }
}
