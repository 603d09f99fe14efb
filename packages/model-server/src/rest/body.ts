import type { IncomingMessage } from "node:http";
import { promisify } from "node:util";
import { gunzip, inflate } from "node:zlib";
import { type CancelSignal, ServingError } from "@shardserve/core";
import type { ServerLimits } from "../limits.js";
import { concatInSlices, runInSlices } from "../slices.js";

const DECODERS = { gzip: promisify(gunzip), deflate: promisify(inflate) };

/** A body that exceeds a limit: HTTP has its own status for that. */
export class BodyTooLargeError extends ServingError {
  constructor(bytes: string, limitBytes: number) {
    super("RESOURCE_EXHAUSTED", `the request body has ${bytes} bytes, the limit is ${limitBytes}`);
  }
}

/** Reads request bodies within the limits of one body and of all together. */
export class BodyReader {
  readonly #limits: ServerLimits;
  #bytesInFlight = 0;

  constructor(limits: ServerLimits) {
    this.#limits = limits;
  }

  /**
   * @returns the body, inflated when it came as gzip or deflate, and a function that gives its bytes back to the common limit
   * @throws ServingError RESOURCE_EXHAUSTED or UNAVAILABLE beyond a limit, INVALID_ARGUMENT for a broken one; the signal's reason
   */
  async read(request: IncomingMessage, signal: CancelSignal): Promise<{ body: Buffer; release: () => void }> {
    const { bodyBytesMax, bodyBytesInFlightMax } = this.#limits;
    const announced = Number(request.headers["content-length"] ?? 0);
    if (announced > bodyBytesMax) throw new BodyTooLargeError(String(announced), bodyBytesMax);
    const chunks: Buffer[] = [];
    let length = 0;
    const take = (bytes: number) => {
      length += bytes;
      this.#bytesInFlight += bytes;
      if (length > bodyBytesMax) throw new BodyTooLargeError(`more than ${bodyBytesMax}`, bodyBytesMax);
      if (this.#bytesInFlight > bodyBytesInFlightMax) {
        throw new ServingError(
          "UNAVAILABLE",
          `request bodies under way exceed ${bodyBytesInFlightMax} bytes; try again later`,
        );
      }
    };
    const release = () => {
      this.#bytesInFlight -= length;
      length = 0;
    };
    const onAbort = () => request.destroy(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await readChunks(request, (chunk) => {
        take(chunk.length);
        chunks.push(chunk);
      });
      let body = chunks.length === 0 ? Buffer.alloc(0) : await runInSlices(concatInSlices(chunks), signal);
      const encoding = request.headers["content-encoding"] ?? "";
      const coding = encoding.includes("gzip") ? "gzip" : encoding.includes("deflate") ? "deflate" : undefined;
      if (coding) {
        body = await this.#inflated(body, coding);
        take(body.length);
      }
      return { body, release };
    } catch (error) {
      release();
      if (error instanceof ServingError) throw error;
      signal.throwIfAborted();
      throw new ServingError("CANCELLED", "the client went away before its request was whole", { cause: error });
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async #inflated(body: Buffer, coding: keyof typeof DECODERS): Promise<Buffer> {
    const { inflatedBytesMax } = this.#limits;
    try {
      return await DECODERS[coding](body, { maxOutputLength: inflatedBytesMax });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") {
        throw new BodyTooLargeError(`more than ${inflatedBytesMax} inflated`, inflatedBytesMax);
      }
      throw new ServingError("INVALID_ARGUMENT", `the request body is no valid ${coding}: ${(error as Error).message}`);
    }
  }
}

/**
 * Hands over the chunks of a body until its end. An async iterator would take several percent of a small request's time.
 *
 * @throws what `take` throws, after which no more is read; the stream's error when it ends early
 */
function readChunks(request: IncomingMessage, take: (chunk: Buffer) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let isOver = false;
    const fail = (error: unknown) => {
      if (isOver) return;
      isOver = true;
      request.pause();
      request.removeAllListeners("data");
      reject(error as Error);
    };
    request.on("data", (chunk: Buffer) => {
      try {
        take(chunk);
      } catch (error) {
        fail(error);
      }
    });
    request.on("end", () => {
      isOver = true;
      resolve();
    });
    request.on("error", fail);
    request.on("close", () => fail(new Error("the body ended early")));
  });
}
