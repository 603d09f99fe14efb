/** What stands before the pixels of a JPEG file, as far as it tells who can decode it. */

export interface JpegHead {
  readonly width: number;
  readonly height: number;
  readonly components: number;
  /** A JFIF marker comes first: three components are Y, Cb and Cr. */
  readonly isJfif: boolean;
  /** The whole image is coefficients first, which one scan or many may fill. */
  readonly isBuffered: boolean;
}

const START_OF_SCAN = 0xda;
const JFIF = [0x4a, 0x46, 0x49, 0x46, 0];

/** Profiles and thumbnails come in dozens of segments at most. */
const SEGMENTS_MAX = 256;

/**
 * Undefined for what has no head of baseline, extended or progressive Huffman coding with 8-bit samples.
 *
 * Only what every reader must walk over alike is taken: segments that follow one another without a gap, each of a marker that has a
 * length. A reader that found another frame than this one would be given too little room for its pixels.
 */
export function readJpegHead(bytes: Uint8Array): JpegHead | undefined {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return undefined;
  let isJfif = false;
  let frame: Pick<JpegHead, "width" | "height" | "components"> | undefined;
  let isProgressive = false;
  for (let at = 2, segments = 0; at + 9 < bytes.length && bytes[at] === 0xff && segments < SEGMENTS_MAX; segments++) {
    const marker = bytes[at + 1]!;
    const length = uint16(bytes, at + 2);
    if (length < 2 || !isTaken(marker)) return undefined;
    if (marker === START_OF_SCAN) {
      return frame && { ...frame, isJfif, isBuffered: isProgressive || bytes[at + 4]! < frame.components };
    }
    if (isFrame(marker)) {
      if (frame || bytes[at + 4] !== 8) return undefined;
      frame = { height: uint16(bytes, at + 5), width: uint16(bytes, at + 7), components: bytes[at + 9]! };
      isProgressive = marker === 0xc2;
    }
    if (marker === 0xe0 && length >= 16) isJfif ||= JFIF.every((byte, i) => bytes[at + 4 + i] === byte);
    at += 2 + length;
  }
  return undefined;
}

/** Tables, frames, scans, the restart interval, what applications add, comments. */
function isTaken(marker: number): boolean {
  const isTable = marker === 0xc4 || marker === 0xdb || marker === 0xdd;
  return isTable || isFrame(marker) || marker === START_OF_SCAN || marker >> 4 === 0xe || marker === 0xfe;
}

function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xc2;
}

function uint16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}
