import { createGunzip, createInflate } from "node:zlib";
import type { CancelSignal } from "@shardserve/core";

/** Codings that clients may send requests in, over REST and gRPC alike. */
export type Coding = "gzip" | "deflate";

/** A small text inflates to a thousand times its bytes: pieces of this size are counted one by one. */
const PIECE_BYTES = 64 * 1024;

/**
 * Inflates in pieces, on another thread. Nothing more is inflated once a piece is refused or the request is over.
 *
 * @param onPiece  is told the bytes of each piece as it comes; what it throws ends the work
 * @returns the pieces, in order
 * @throws zlib's error for bytes that are no such coding; what `onPiece` throws; the signal's reason
 */
export function inflated(
  bytes: Uint8Array,
  coding: Coding,
  onPiece: (bytes: number) => void,
  signal?: CancelSignal,
): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const pieces: Buffer[] = [];
    const inflater = (coding === "gzip" ? createGunzip : createInflate)({ chunkSize: PIECE_BYTES });
    const fail = (error: Error) => {
      signal?.removeEventListener("abort", onAbort);
      inflater.destroy();
      reject(error);
    };
    const onAbort = () => fail(signal!.reason as Error);
    signal?.addEventListener("abort", onAbort, { once: true });
    inflater.on("error", fail);
    inflater.on("data", (piece: Buffer) => {
      try {
        onPiece(piece.length);
        pieces.push(piece);
      } catch (error) {
        fail(error as Error);
      }
    });
    inflater.on("end", () => {
      signal?.removeEventListener("abort", onAbort);
      resolve(pieces.length === 1 ? [unpinned(pieces[0]!)] : pieces);
    });
    inflater.end(bytes);
  });
}

/** A small piece without the buffer for large ones that it lies in, nor Node's pool, which may be as large. */
function unpinned(piece: Buffer): Buffer {
  if (piece.length >= PIECE_BYTES / 2) return piece;
  const copy = Buffer.allocUnsafeSlow(piece.length);
  copy.set(piece);
  return copy;
}
