import { isOutOfRoom, ServingError } from "@shardserve/core";

const NOT_ALLOWED = ["EACCES", "EPERM", "EROFS", "ENOTDIR"];

/**
 * A failure of writing a version, delta or fold, saying where: DISK_FULL, FAILED_PRECONDITION where the process may not write. Others, and
 * those that say it already, as `ServingError.from` has them.
 */
export function writeError(target: string, error: unknown): ServingError {
  const { code = "", message } = error as NodeJS.ErrnoException;
  if (!(error instanceof ServingError)) {
    if (isOutOfRoom(error))
      return new ServingError("DISK_FULL", `${target}: ${message}; make room there, and run it again`, {
        cause: error,
      });
    if (NOT_ALLOWED.includes(code))
      return new ServingError("FAILED_PRECONDITION", `${target} cannot be written: ${message}`, { cause: error });
  }
  return ServingError.from(error);
}
