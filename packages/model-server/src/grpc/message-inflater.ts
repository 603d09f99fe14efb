import { type ServerInterceptingCall, type ServerInterceptor, status } from "@grpc/grpc-js";
import { ServingError } from "@shardserve/core";
import { type Coding, inflated } from "../inflate.js";
import { concatInSlices, runInSlices } from "../slices.js";
import { grpcError } from "./status.js";

/** Flag and length in front of a message. */
const PREFIX_BYTES = 5;

/** What grpc-js keeps of a call and does not show; tests notice when it keeps it elsewhere. */
interface CallInternals {
  /** Of the header grpc-encoding. */
  readonly incomingEncoding: string;
  readonly stream: { readonly destroyed: boolean };
  /** Rejects with the status of the call. */
  decompressMessage(message: Buffer, encoding: string): Buffer | Promise<Buffer>;
}

/**
 * Bounds what compressed messages inflate to, all together: grpc-js bounds each alone, by the limit of those that are not compressed,
 * and 100 kB of zeros are 100 MB of them.
 */
export class MessageInflater {
  readonly #bytesMax: number;
  #bytes = 0;

  /** @param bytesMax  of all messages that are being inflated */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Leaves calls without compression as they are. */
  readonly interceptor: ServerInterceptor = (_method, call) => {
    const internals = call as unknown as CallInternals;
    const { incomingEncoding: coding } = internals;
    if (coding === "gzip" || coding === "deflate") {
      const plain = internals.decompressMessage.bind(internals);
      internals.decompressMessage = (message, encoding) =>
        encoding === coding ? this.#inflate(message, coding, internals) : plain(message, encoding);
    }
    return call as ServerInterceptingCall; // without an interceptor grpc-js goes on with this one, too
  };

  async #inflate(message: Buffer, coding: Coding, { stream }: CallInternals): Promise<Buffer> {
    let taken = 0;
    const onPiece = (bytes: number) => {
      if (stream.destroyed) throw new ServingError("CANCELLED", "the client cancelled the call");
      taken += bytes;
      this.#bytes += bytes;
      if (this.#bytes <= this.#bytesMax) return;
      const text = `compressed messages under way inflate to more than ${this.#bytesMax} bytes; try again later`;
      throw new ServingError("RESOURCE_EXHAUSTED", text);
    };
    try {
      const pieces = await inflated(message.subarray(PREFIX_BYTES), coding, onPiece);
      return await runInSlices(concatInSlices(pieces));
    } catch (error) {
      if (error instanceof ServingError) throw grpcError(error);
      throw { code: status.INTERNAL, details: `the message is no valid ${coding}: ${(error as Error).message}` };
    } finally {
      this.#bytes -= taken;
    }
  }
}
