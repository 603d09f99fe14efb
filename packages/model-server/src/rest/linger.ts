import type { IncomingMessage } from "node:http";
import type { Clock } from "@shardserve/core";

/** How long a client may go on sending what nobody reads. */
const LINGER_MS = 10_000;

/** Whether a request announces a body of which not all has come. */
export function isStillSent({ complete, headers }: IncomingMessage): boolean {
  if (complete) return false;
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/**
 * Throws away what a client still sends of a request that was answered already, and calls back when that has ended, or lasts too long. A socket
 * that is closed over unread bytes is reset, and the reset takes the answer with it: many clients read it only when they have sent all.
 */
export function linger(request: IncomingMessage, clock: Clock, callback: () => void): void {
  const done = () => {
    cancel();
    request.removeListener("end", done);
    request.removeListener("close", done);
    callback();
  };
  const cancel = clock.after(LINGER_MS, done);
  request.on("end", done);
  request.on("close", done);
  request.resume();
}
