import { promisify } from "node:util";
import { constants, gzip } from "node:zlib";

const compress = promisify(gzip);

/** Smaller answers fit into a few packets and are not worth the work. */
const BYTES_MIN = 32 * 1024;

/**
 * A body as gzip when the client takes that and the body is large, on another thread; undefined = send it as it is. The
 * fastest level: JSON of numbers shrinks to about a third either way, and the cores are the engine's.
 */
export async function gzipped(body: Buffer | string, acceptEncoding: unknown): Promise<Buffer | undefined> {
  if (Buffer.byteLength(body) < BYTES_MIN || !acceptsGzip(acceptEncoding)) return undefined;
  return compress(body, { level: constants.Z_BEST_SPEED });
}

/** Whether an Accept-Encoding header names gzip, and not with the weight zero. */
export function acceptsGzip(header: unknown): boolean {
  if (typeof header !== "string") return false;
  return header.split(",").some((item) => {
    const [coding, ...parameters] = item.split(";").map((part) => part.trim().toLowerCase());
    return (coding === "gzip" || coding === "*") && !parameters.some((each) => /^q=0(\.0{0,3})?$/.test(each));
  });
}
