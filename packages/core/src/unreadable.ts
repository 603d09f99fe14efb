import { type ErrorCode, ServingError } from "./errors.js";

/** What keeps a file from being read whatever is in it, and may be over later. */
const OUTAGES: Readonly<Record<string, readonly [code: ErrorCode, cure: string]>> = {
  EACCES: ["PERMISSION_DENIED", "let this process's user read it"],
  EPERM: ["PERMISSION_DENIED", "let this process's user read it"],
  EMFILE: ["UNAVAILABLE", "raise the process's limit of open files (ulimit -n)"],
  ENFILE: ["UNAVAILABLE", "raise the system's limit of open files (fs.file-max)"],
  ENOMEM: ["UNAVAILABLE", "the system is out of memory"],
  EIO: ["UNAVAILABLE", "look at the disk"],
  ESTALE: ["UNAVAILABLE", "look at the file server"],
  ETIMEDOUT: ["UNAVAILABLE", "look at the file server"],
};

/**
 * The failure to read a file: PERMISSION_DENIED or UNAVAILABLE where the system is the cause, which says nothing about the
 * file, else `damaged`. A ServingError stays what it is.
 */
export function unreadable(path: string, cause: unknown, damaged: ErrorCode): ServingError {
  if (cause instanceof ServingError) return cause;
  const { code = "", message } = cause as NodeJS.ErrnoException;
  const outage = OUTAGES[code];
  const text = `${path} cannot be read: ${message}`;
  return outage
    ? new ServingError(outage[0], `${text}; ${outage[1]}`, { cause })
    : new ServingError(damaged, text, { cause });
}
