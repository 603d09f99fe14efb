import type { ServerHttp2Stream } from "node:http2";
import { type ServerInterceptingCall, type ServerInterceptor, status } from "@grpc/grpc-js";
import { ServingError } from "@shardserve/core";
import { type Coding, inflated } from "../inflate.js";
import { concatInSlices, runInSlices } from "../slices.js";
import { grpcError } from "./status.js";

/** Flag and length in front of a message. */
const PREFIX_BYTES = 5;

/** What the messages of one call take of the bound. */
interface CallBytes {
  /** Of messages that are inflated, until the request is whole. */
  held: number;
  isWhole: boolean;
}

/** What grpc-js keeps of a call and does not show; tests notice when it keeps it elsewhere. */
interface CallInternals {
  /** Of the header grpc-encoding. */
  readonly incomingEncoding: string;
  readonly stream: Pick<ServerHttp2Stream, "destroyed" | "once">;
  /** Whether it was answered or given up: by its deadline, say, while the client may still send. */
  readonly cancelled: boolean;
  /** Rejects with the status of the call. */
  decompressMessage(message: Buffer, encoding: string): Buffer | Promise<Buffer>;
}

/**
 * Bounds what compressed messages inflate to, all together: grpc-js bounds each alone, by the limit of those that are not compressed,
 * and 100 kB of zeros are 100 MB of them. They count until their request has ended: so long grpc-js keeps them and calls nobody, then the
 * call begins and counts its message itself. The pieces and the message made of them are there at once for a moment: twice what counts.
 */
export class MessageInflater {
  readonly #bytesMax: number;
  #bytes = 0;

  /** @param bytesMax  of all inflated messages whose requests are on their way in */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Leaves calls without compression as they are. */
  readonly interceptor: ServerInterceptor = (_method, call) => {
    const internals = call as unknown as CallInternals;
    const { incomingEncoding: coding } = internals;
    if (coding === "gzip" || coding === "deflate") {
      const plain = internals.decompressMessage.bind(internals);
      const bytes = this.#follow(internals.stream);
      internals.decompressMessage = (message, encoding) =>
        encoding === coding ? this.#inflate(message, coding, internals, bytes) : plain(message, encoding);
    }
    return call as ServerInterceptingCall; // without an interceptor grpc-js goes on with this one, too
  };

  /** Listens behind grpc-js, which begins the call when the request ends. */
  #follow(stream: CallInternals["stream"]): CallBytes {
    const bytes: CallBytes = { held: 0, isWhole: false };
    const giveBack = () => {
      this.#bytes -= bytes.held;
      bytes.held = 0;
      bytes.isWhole = true;
    };
    stream.once("end", giveBack);
    stream.once("close", giveBack);
    return bytes;
  }

  async #inflate(message: Buffer, coding: Coding, call: CallInternals, bytes: CallBytes): Promise<Buffer> {
    let taken = 0;
    const onPiece = (length: number) => {
      if (call.cancelled || call.stream.destroyed) throw new ServingError("CANCELLED", "the call is over");
      taken += length;
      this.#bytes += length;
      if (this.#bytes <= this.#bytesMax) return;
      const text = `compressed messages under way inflate to more than ${this.#bytesMax} bytes; try again later`;
      throw new ServingError("RESOURCE_EXHAUSTED", text);
    };
    try {
      const pieces = await inflated(message.subarray(PREFIX_BYTES), coding, onPiece);
      const whole = await runInSlices(concatInSlices(pieces));
      if (!bytes.isWhole) {
        bytes.held += taken;
        taken = 0;
      }
      return whole;
    } catch (error) {
      if (error instanceof ServingError) throw grpcError(error);
      throw { code: status.INTERNAL, details: `the message is no valid ${coding}: ${(error as Error).message}` };
    } finally {
      this.#bytes -= taken;
    }
  }
}
