/** Samples to PNG files. The pixels are those of TensorFlow's; the bytes are this zlib's and not that one's. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { promisify } from "node:util";
import { constants, crc32, deflate } from "node:zlib";

export interface PngSamples {
  readonly width: number;
  readonly height: number;
  /** 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. */
  readonly channels: number;
  readonly data: Uint8Array | Uint16Array;
}

const deflateAsync = promisify(deflate);
const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const COLOURS = [0, 0, 4, 2, 6];

/** Bytes of rows between two turns of the event loop. */
const BYTES_PER_TURN = 1 << 18;

function chunk(kind: string, body: Uint8Array): Buffer {
  const out = Buffer.alloc(body.length + 12);
  out.writeUInt32BE(body.length);
  out.write(kind, 4, "latin1");
  out.set(body, 8);
  out.writeUInt32BE(crc32(out.subarray(4, body.length + 8)), body.length + 8);
  return out;
}

function paeth(left: number, up: number, corner: number): number {
  const estimate = left + up - corner;
  const [a, b, c] = [Math.abs(estimate - left), Math.abs(estimate - up), Math.abs(estimate - corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

/** What a filter leaves of byte i of a row. */
function residue(kind: number, row: Uint8Array, above: Uint8Array, i: number, step: number): number {
  const left = i >= step ? row[i - step]! : 0;
  const up = above[i]!;
  switch (kind) {
    case 0:
      return row[i]!;
    case 1:
      return (row[i]! - left) & 255;
    case 2:
      return (row[i]! - up) & 255;
    case 3:
      return (row[i]! - ((left + up) >> 1)) & 255;
    default:
      return (row[i]! - paeth(left, up, i >= step ? above[i - step]! : 0)) & 255;
  }
}

const FILTERS = 5;

/** The filter whose residues are nearest to zero, as libpng chooses. */
function bestFilter(row: Uint8Array, above: Uint8Array, step: number): number {
  let [best, least] = [0, Infinity];
  for (let kind = 0; kind < FILTERS; kind++) {
    let sum = 0;
    for (let i = 0; i < row.length && sum < least; i++) {
      const value = residue(kind, row, above, i, step);
      sum += value < 128 ? value : 256 - value;
    }
    if (sum < least) [best, least] = [kind, sum];
  }
  return best;
}

/** Bytes of samples as PNG has them: 16-bit ones with the high byte first. */
function bytesOf(data: Uint8Array | Uint16Array): Uint8Array {
  if (data instanceof Uint8Array) return data;
  const out = new Uint8Array(2 * data.length);
  for (let i = 0; i < data.length; i++) {
    out[2 * i] = data[i]! >> 8;
    out[2 * i + 1] = data[i]! & 255;
  }
  return out;
}

/** Encodes a PNG file; gives way to others between pieces of it. @param level  zlib's, -1 to 9 */
export async function encodePng({ width, height, channels, data }: PngSamples, level: number): Promise<Uint8Array> {
  const depth = data instanceof Uint8Array ? 8 : 16;
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([depth, COLOURS[channels]!], 8);
  const bytes = bytesOf(data);
  const step = (channels * depth) / 8;
  const size = width * step;
  const filtered = new Uint8Array((size + 1) * height);
  let above: Uint8Array = new Uint8Array(size);
  for (let y = 0, since = 0; y < height; y++, since += size) {
    const row = bytes.subarray(y * size, (y + 1) * size);
    const kind = bestFilter(row, above, step);
    const at = y * (size + 1);
    filtered[at] = kind;
    for (let i = 0; i < size; i++) filtered[at + 1 + i] = residue(kind, row, above, i, step);
    above = row;
    if (since < BYTES_PER_TURN) continue;
    since = 0;
    await nextTurn();
  }
  const packed = await deflateAsync(filtered, { level, strategy: constants.Z_FILTERED });
  const end = chunk("IEND", new Uint8Array(0));
  return Buffer.concat([Uint8Array.from(SIGNATURE), chunk("IHDR", header), chunk("IDAT", packed), end]);
}
