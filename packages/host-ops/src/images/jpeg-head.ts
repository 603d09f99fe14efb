/** What stands before the pixels of a JPEG file, as far as it tells who can decode it. */

export interface JpegHead {
  readonly width: number;
  readonly height: number;
  readonly components: number;
  /** A JFIF marker comes first: three components are Y, Cb and Cr. */
  readonly isJfif: boolean;
}

const START_OF_SCAN = 0xda;
const JFIF = [0x4a, 0x46, 0x49, 0x46, 0];

/** Undefined for what has no head of baseline, extended or progressive Huffman coding with 8-bit samples. */
export function readJpegHead(bytes: Uint8Array): JpegHead | undefined {
  let isJfif = false;
  let frame: Omit<JpegHead, "isJfif"> | undefined;
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff; ) {
    const marker = bytes[at + 1]!;
    if (marker === 0xff) {
      at++;
      continue;
    }
    if (marker === START_OF_SCAN) return frame && { ...frame, isJfif };
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame && (frame || marker > 0xc2 || bytes[at + 4] !== 8)) return undefined;
    if (isFrame) frame = { height: uint16(bytes, at + 5), width: uint16(bytes, at + 7), components: bytes[at + 9]! };
    if (marker === 0xe0) isJfif ||= JFIF.every((byte, i) => bytes[at + 4 + i] === byte);
    at += 2 + uint16(bytes, at + 2);
  }
  return undefined;
}

function uint16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}
