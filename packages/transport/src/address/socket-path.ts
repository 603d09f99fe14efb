import { lstat, rm } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";
import { ServingError } from "@shardserve/core";

/** sun_path without its closing zero (macOS has the shorter one); longer ones would be cut off without a word. */
const PATH_BYTES_MAX = process.platform === "linux" ? 107 : 103;

/**
 * Makes the path of a Unix socket free to be listened on: the socket that a killed process left there is removed. That of
 * a process which lives is not, or its clients would be answered by somebody else.
 *
 * @throws ServingError CONFIG_INVALID where no socket can be; UNAVAILABLE when a process listens there
 */
export async function claimSocketPath(path: string): Promise<void> {
  if (Buffer.byteLength(path) > PATH_BYTES_MAX)
    throw new ServingError("CONFIG_INVALID", `a socket's path has ${PATH_BYTES_MAX} bytes at most, not ${path}`);
  const found = await lstat(path).catch(() => undefined);
  if (!found) {
    if (await lstat(dirname(path)).catch(() => undefined)) return;
    throw new ServingError("CONFIG_INVALID", `cannot listen on unix:${path}: there is no folder ${dirname(path)}`);
  }
  if (!found.isSocket())
    throw new ServingError("CONFIG_INVALID", `cannot listen on unix:${path}: what is there is no socket`);
  if (await isListenedOn(path))
    throw new ServingError("UNAVAILABLE", `cannot listen on unix:${path}: another process listens there`);
  await rm(path, { force: true });
}

function isListenedOn(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const settle = (isAlive: boolean) => {
      socket.destroy();
      resolve(isAlive);
    };
    socket.once("connect", () => settle(true));
    // Refused: nobody has it open. Anything else (no right to connect, a full backlog) says that somebody may.
    socket.once("error", (error: NodeJS.ErrnoException) =>
      settle(error.code !== "ECONNREFUSED" && error.code !== "ENOENT"),
    );
  });
}
