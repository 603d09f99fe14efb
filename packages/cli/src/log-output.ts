import { writeSync } from "node:fs";
import type { DestinationStream } from "pino";

/** Pause before another try where a pipe is full. */
const FULL_PAUSE_MS = 10;

/**
 * Where log lines go, at once. One that cannot be written (the terminal was closed, the disk is full) is lost: it must not end a server, least of
 * all one that a closing terminal told to drain. pino's own destination throws, and keeps all such lines.
 */
export function logOutput(fd: number): DestinationStream {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  return {
    write(line) {
      const bytes = Buffer.from(line);
      for (let at = 0; at < bytes.length; ) {
        try {
          at += writeSync(fd, bytes, at);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
          Atomics.wait(pause, 0, 0, FULL_PAUSE_MS);
        }
      }
    },
  };
}
