import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * Below what systems give to connections and to those who listen on any port (Linux: 32768 on), also with the 10 000 that Redis adds for its
 * cluster bus. A port of theirs that is free now may be somebody's before the process that it is for listens.
 */
const FIRST = 15_000;
const COUNT = 7_000;

/** Ports that this process gave out. */
const given = new Set<number>();

/** A TCP port on 127.0.0.1 that nobody listens on, and that is not given out again by this process. */
export async function freePort(): Promise<number> {
  while (given.size < COUNT) {
    const port = FIRST + randomInt(COUNT);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) return port;
  }
  throw new Error(`all ports from ${FIRST} to ${FIRST + COUNT - 1} are taken`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE" || error.code === "EACCES") resolve(false);
      else reject(error);
    });
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
