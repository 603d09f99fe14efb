import type { IncomingMessage } from "node:http";
import { type CancelSignal, isServingError, ServingError } from "@shardserve/core";
import { inflated } from "../inflate.js";
import type { ServerLimits } from "../limits.js";
import { concatInSlices, runInSlices } from "../slices.js";

/** A body that exceeds a limit: HTTP has its own status for that. */
export class BodyTooLargeError extends ServingError {
  constructor(bytes: string, limitBytes: number) {
    super("RESOURCE_EXHAUSTED", `the request body has ${bytes} bytes, the limit is ${limitBytes}`);
  }
}

/** Reads request bodies within the limits of one body and of all together. */
export class BodyReader {
  readonly limits: ServerLimits;
  /** Taken by all bodies under way. */
  bytesInFlight = 0;

  constructor(limits: ServerLimits) {
    this.limits = limits;
  }

  /**
   * @returns the body, inflated when it came as gzip or deflate; to be released by the caller
   * @throws ServingError RESOURCE_EXHAUSTED or UNAVAILABLE beyond a limit, INVALID_ARGUMENT for a broken one; the signal's reason
   */
  async read(request: IncomingMessage, signal: CancelSignal): Promise<Body> {
    const body = new Body(this);
    try {
      body.announce(Number(request.headers["content-length"] ?? 0));
      body.bytes = await runInSlices(concatInSlices(await readChunks(request, body, signal)), signal);
      const coding = request.headers["content-encoding"];
      if (coding !== undefined) await body.decode(coding, signal);
      return body;
    } catch (error) {
      body.release();
      if (error instanceof ServingError) throw error;
      signal.throwIfAborted();
      throw new ServingError("CANCELLED", "the client went away before its request was whole", { cause: error });
    }
  }
}

const NOTHING = Buffer.alloc(0);

/** A body, and what it takes of the limits. */
export class Body {
  bytes: Buffer = NOTHING;
  readonly #reader: BodyReader;
  /** Of the body as it came. */
  #sentBytes = 0;
  #inflatedBytes = 0;
  /** Of what both limits of all bodies count. */
  #heldBytes = 0;

  constructor(reader: BodyReader) {
    this.#reader = reader;
  }

  /** @throws BodyTooLargeError before anything of it is read */
  announce(length: number): void {
    const { bodyBytesMax } = this.#reader.limits;
    if (length > bodyBytesMax) throw new BodyTooLargeError(String(length), bodyBytesMax);
  }

  /**
   * Counts bytes of the body as they come.
   *
   * @throws ServingError RESOURCE_EXHAUSTED, UNAVAILABLE
   */
  take(bytes: number): void {
    const { bodyBytesMax } = this.#reader.limits;
    this.#sentBytes += bytes;
    if (this.#sentBytes > bodyBytesMax) throw new BodyTooLargeError(`more than ${bodyBytesMax}`, bodyBytesMax);
    this.#hold(bytes);
  }

  /** @param encoding  the header Content-Encoding; other codings are taken as they are */
  async decode(encoding: string, signal: CancelSignal): Promise<void> {
    const coding = encoding.includes("gzip") ? "gzip" : encoding.includes("deflate") ? "deflate" : undefined;
    if (!coding) return;
    try {
      const pieces = await inflated(this.bytes, coding, (bytes) => this.#takeInflated(bytes), signal);
      this.bytes = await runInSlices(concatInSlices(pieces), signal);
    } catch (error) {
      if (isServingError(error)) throw error;
      throw new ServingError("INVALID_ARGUMENT", `the request body is no valid ${coding}: ${(error as Error).message}`);
    }
  }

  /** Gives its bytes back to the common limit. */
  release(): void {
    this.#reader.bytesInFlight -= this.#heldBytes;
    this.#heldBytes = 0;
  }

  /** Piece by piece: a hundred small bodies may be on their way to many GiB at once. */
  #takeInflated(bytes: number): void {
    const { inflatedBytesMax } = this.#reader.limits;
    this.#inflatedBytes += bytes;
    if (this.#inflatedBytes > inflatedBytesMax) {
      throw new BodyTooLargeError(`more than ${inflatedBytesMax} inflated`, inflatedBytesMax);
    }
    this.#hold(bytes);
  }

  #hold(bytes: number): void {
    const { bodyBytesInFlightMax } = this.#reader.limits;
    this.#heldBytes += bytes;
    this.#reader.bytesInFlight += bytes;
    if (this.#reader.bytesInFlight <= bodyBytesInFlightMax) return;
    const text = `request bodies under way exceed ${bodyBytesInFlightMax} bytes; try again later`;
    throw new ServingError("UNAVAILABLE", text);
  }
}

/**
 * The chunks of a body. An async iterator would take several percent of a small request's time.
 *
 * @throws what `body` says to one that is too large, after which no more is kept; the stream's error when it ends early
 */
function readChunks(request: IncomingMessage, body: Body, signal: CancelSignal): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let isOver = false;
    const onAbort = () => fail(signal.reason as Error);
    const fail = (error: Error) => {
      isOver = true;
      signal.removeEventListener("abort", onAbort);
      request.pause();
      request.removeAllListeners("data");
      reject(error);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    request.on("data", (chunk: Buffer) => {
      try {
        body.take(chunk.length);
        chunks.push(chunk);
      } catch (error) {
        fail(error as Error);
      }
    });
    request.on("end", () => {
      isOver = true;
      signal.removeEventListener("abort", onAbort);
      resolve(chunks);
    });
    request.on("error", (error) => {
      if (!isOver) fail(error);
    });
    // It comes after each body. An error made in vain here was a twentieth of a small request.
    request.on("close", () => {
      if (!isOver) fail(new Error("the body ended early"));
    });
  });
}
