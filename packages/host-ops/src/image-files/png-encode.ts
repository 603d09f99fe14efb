/** Samples to PNG files. The pixels are those of TensorFlow's; the bytes are this zlib's and not that one's. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { promisify } from "node:util";
import { constants, crc32, deflate } from "node:zlib";
import { expectedByte, FILTER_COUNT, PNG_SIGNATURE, type PngImage } from "./png-format.js";

const deflateAsync = promisify(deflate);
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

/** What a filter leaves of byte i of a row. */
function residue(kind: number, row: Uint8Array, above: Uint8Array, i: number, step: number): number {
  const left = i >= step ? row[i - step]! : 0;
  const corner = i >= step ? above[i - step]! : 0;
  return (row[i]! - expectedByte(kind, left, above[i]!, corner)) & 255;
}

/** The filter whose residues are nearest to zero, as libpng chooses. */
function bestFilter(row: Uint8Array, above: Uint8Array, step: number): number {
  let [best, least] = [0, Infinity];
  for (let kind = 0; kind < FILTER_COUNT; kind++) {
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
export async function encodePng({ width, height, channels, data }: PngImage, level: number): Promise<Uint8Array> {
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
  return Buffer.concat([Uint8Array.from(PNG_SIGNATURE), chunk("IHDR", header), chunk("IDAT", packed), end]);
}
