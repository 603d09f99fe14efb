import { closeSync, openSync, readSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { crc32c } from "@node-rs/crc32";
import { invariant } from "@shardserve/core";
import { lowerThreadPriority } from "./libc.js";
import type { ChecksumAnswer, ChecksumRequest, FailedAnswer, SessionAnswer, SessionRequest } from "./load-thread.js";
import { openOrtLibrary, type OrtLibrary } from "../ort/ort-library.js";

/**
 * Tenth of the weight of an ordinary thread: whoever serves goes first, and a load still ends on a machine that is never idle.
 */
const NICE = 10;

/** What is read at once stays in the core's cache until its checksum is computed: less of the memory's bandwidth is taken. */
const READ_BYTES = 256 * 1024;

invariant(parentPort, "this module is the body of a LoadThread");
const port = parentPort;
lowerThreadPriority(NICE);
let library: OrtLibrary | undefined;
const out = new BigUint64Array(1);
const buffer = new Uint8Array(READ_BYTES);

port.on("message", (request: SessionRequest | ChecksumRequest) => {
  port.postMessage(request.kind === "session" ? createSession(request) : checksumOf(request));
});

function createSession({ libraryPath, environment, model, modelBytes, settings }: SessionRequest): SessionAnswer {
  library ??= openOrtLibrary(libraryPath);
  out[0] = 0n;
  const { CreateSessionFromArray } = library.functions;
  const status = CreateSessionFromArray(environment, model, modelBytes, settings, out) as bigint | null;
  return { status, session: out[0] };
}

function checksumOf({ path, offset, length, previous }: ChecksumRequest): ChecksumAnswer | FailedAnswer {
  let crc = previous;
  let position = offset;
  try {
    const fd = openSync(path, "r");
    try {
      while (position < offset + length) {
        const count = readSync(fd, buffer, 0, Math.min(READ_BYTES, offset + length - position), position);
        if (count === 0) return { failure: `${path} ends at byte ${position}, while it is read` };
        crc = crc32c(buffer.subarray(0, count), crc);
        position += count;
      }
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    return { failure: `${path} cannot be read at byte ${position}: ${(error as Error).message}` };
  }
  return { crc32c: crc };
}
