/**
 * JPEG markers and entropy-coded data (ITU-T T.81): a stream to DCT coefficients. Baseline, extended and progressive
 * Huffman coding with 8-bit samples, as libjpeg reads them. Input may be hostile: every read is bounded.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { CancelSignal } from "@shardserve/core";
import { check } from "../call/errors.js";
import { BitReader, corrupt, huffman, type Huffman, tableOf } from "./jpeg-bits.js";

/** The most pixels that an image may have: its samples are held as bytes and coefficients. */
export const IMAGE_PIXELS_MAX = 2 ** 26;

/** Blocks decoded between two turns of the event loop. */
const BLOCKS_PER_TURN = 1024;

const BLOCK = 64;

/** Where the coefficients of a block stand in natural order, in the order of the file. */
export const ZIGZAG = Uint8Array.from([
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47,
  55, 62, 63,
]);

export interface JpegComponent {
  readonly id: number;
  /** Sampling factors. */
  readonly h: number;
  readonly v: number;
  readonly table: number;
  /** Quantisation table in natural order, as it was when the component's first scan began. */
  quantization: Uint16Array | undefined;
  /** Blocks per row and column, with what the last MCUs pad. */
  readonly blocksWide: number;
  readonly blocksHigh: number;
  /** Blocks that hold samples of the image. */
  readonly blocksAcross: number;
  readonly blocksDown: number;
  readonly coefficients: Int16Array;
  predicted: number;
}

export interface JpegFrame {
  readonly width: number;
  readonly height: number;
  readonly components: readonly JpegComponent[];
  readonly hMax: number;
  readonly vMax: number;
  readonly hasJfif: boolean;
  /** Colour transform of the Adobe marker; undefined without one. */
  readonly adobeTransform: number | undefined;
}

interface Scan {
  readonly components: readonly JpegComponent[];
  readonly dc: readonly (Huffman | undefined)[];
  readonly ac: readonly (Huffman | undefined)[];
  readonly first: number;
  readonly last: number;
  readonly high: number;
  readonly low: number;
}

/** Reads a whole stream into coefficients. */
export async function readJpeg(bytes: Uint8Array, signal?: CancelSignal): Promise<JpegFrame> {
  const reader = new FrameReader(bytes);
  return reader.read(signal);
}

/** Width, height and number of components, from the frame header alone. */
class FrameReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  readonly #quantization: (Uint16Array | undefined)[] = [];
  readonly #dc: (Huffman | undefined)[] = [];
  readonly #ac: (Huffman | undefined)[] = [];
  #components: JpegComponent[] | undefined;
  #size = { width: 0, height: 0, hMax: 1, vMax: 1 };
  #isProgressive = false;
  #restartInterval = 0;
  #hasJfif = false;
  #adobeTransform: number | undefined;
  #endOfBandRun = 0;
  #scanCount = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  async read(signal: CancelSignal | undefined): Promise<JpegFrame> {
    if (this.#bytes[0] !== 0xff || this.#bytes[1] !== 0xd8) throw corrupt("no start of image");
    this.#at = 2;
    for (;;) {
      const marker = this.#marker();
      if (marker === 0xd9) break;
      if (marker >= 0xd0 && marker <= 0xd8) continue;
      const length = this.#uint16(this.#at);
      const end = this.#at + length;
      if (length < 2 || end > this.#bytes.length) throw corrupt("a segment ends too early");
      const start = this.#at + 2;
      this.#at = end;
      if (marker === 0xda) await this.#scan(start, end, signal);
      else this.#segment(marker, start, end);
    }
    const components = this.#components;
    if (!components || this.#scanCount === 0) throw corrupt("no image data");
    return { ...this.#size, components, hasJfif: this.#hasJfif, adobeTransform: this.#adobeTransform };
  }

  #uint16(at: number): number {
    return ((this.#bytes[at] ?? 0) << 8) | (this.#bytes[at + 1] ?? 0);
  }

  /** Moves behind the next marker and returns it. */
  #marker(): number {
    const bytes = this.#bytes;
    while (this.#at < bytes.length) {
      if (bytes[this.#at++] !== 0xff) continue;
      while (bytes[this.#at] === 0xff) this.#at++;
      const marker = bytes[this.#at++];
      if (marker !== undefined && marker !== 0) return marker;
    }
    throw corrupt("no end of image");
  }

  #segment(marker: number, start: number, end: number): void {
    const bytes = this.#bytes;
    if (marker === 0xdb) this.#readQuantization(start, end);
    else if (marker === 0xc4) this.#readHuffman(start, end);
    else if (marker === 0xc0 || marker === 0xc1 || marker === 0xc2) this.#readFrame(marker, start, end);
    else if (marker === 0xdd) this.#restartInterval = this.#uint16(start);
    else if (marker === 0xe0 && end - start >= 14 && text(bytes, start, 5) === "JFIF\0") this.#hasJfif = true;
    else if (marker === 0xee && end - start >= 12 && text(bytes, start, 5) === "Adobe") {
      this.#adobeTransform = bytes[start + 11]!;
    } else if (marker >= 0xc3 && marker <= 0xcf && marker !== 0xc8 && marker !== 0xcc) {
      throw corrupt("lossless, hierarchical or arithmetic coding is not supported");
    }
  }

  #readQuantization(start: number, end: number): void {
    for (let at = start; at < end; ) {
      const head = this.#bytes[at++]!;
      const is16 = head >> 4 !== 0;
      if (at + (is16 ? 128 : 64) > end || (head & 15) > 3) throw corrupt("a bad quantization table");
      const table = new Uint16Array(BLOCK);
      for (let k = 0; k < BLOCK; k++, at += is16 ? 2 : 1) {
        table[ZIGZAG[k]!] = is16 ? this.#uint16(at) : this.#bytes[at]!;
      }
      this.#quantization[head & 15] = table;
    }
  }

  #readHuffman(start: number, end: number): void {
    for (let at = start; at < end; ) {
      const head = this.#bytes[at++]!;
      const counts = this.#bytes.subarray(at, at + 16);
      const total = counts.reduce((sum, count) => sum + count, 0);
      at += 16;
      if (at + total > end || total > 256 || (head & 15) > 3 || head >> 4 > 1) throw corrupt("a bad Huffman table");
      (head >> 4 === 0 ? this.#dc : this.#ac)[head & 15] = huffman(counts, this.#bytes.slice(at, at + total));
      at += total;
    }
  }

  #readFrame(marker: number, start: number, end: number): void {
    if (this.#components) throw corrupt("two frames");
    const bytes = this.#bytes;
    const [height, width, count] = [this.#uint16(start + 1), this.#uint16(start + 3), bytes[start + 5]!];
    if (bytes[start] !== 8) throw corrupt(`samples of ${bytes[start]} bits are not supported`);
    if (width === 0 || height === 0 || ![1, 3, 4].includes(count) || start + 6 + 3 * count > end) {
      throw corrupt("a bad frame header");
    }
    check(
      width * height <= IMAGE_PIXELS_MAX,
      () => `Image too large: ${width} x ${height} pixels, at most ${IMAGE_PIXELS_MAX} are decoded`,
    );
    this.#isProgressive = marker === 0xc2;
    const raw = Array.from({ length: count }, (_, i) => {
      const at = start + 6 + 3 * i;
      const [h, v] = [bytes[at + 1]! >> 4, bytes[at + 1]! & 15];
      if (h < 1 || h > 4 || v < 1 || v > 4) throw corrupt("bad sampling factors");
      return { id: bytes[at]!, h, v, table: bytes[at + 2]! };
    });
    const hMax = Math.max(...raw.map(({ h }) => h));
    const vMax = Math.max(...raw.map(({ v }) => v));
    const mcusWide = Math.ceil(width / (8 * hMax));
    const mcusHigh = Math.ceil(height / (8 * vMax));
    this.#size = { width, height, hMax, vMax };
    this.#components = raw.map(({ id, h, v, table }) => ({
      id,
      h,
      v,
      table,
      quantization: undefined,
      blocksWide: mcusWide * h,
      blocksHigh: mcusHigh * v,
      blocksAcross: Math.ceil(Math.ceil((width * h) / hMax) / 8),
      blocksDown: Math.ceil(Math.ceil((height * v) / vMax) / 8),
      coefficients: new Int16Array(mcusWide * h * mcusHigh * v * BLOCK),
      predicted: 0,
    }));
  }

  async #scan(start: number, end: number, signal: CancelSignal | undefined): Promise<void> {
    const all = this.#components;
    if (!all) throw corrupt("a scan before the frame");
    // A stream of very many scans costs more than its size: libjpeg's own advice is a limit.
    if (++this.#scanCount > 200) throw corrupt("too many scans");
    const bytes = this.#bytes;
    const count = bytes[start]!;
    if (count < 1 || count > 4 || start + 4 + 2 * count > end) throw corrupt("a bad scan header");
    const components: JpegComponent[] = [];
    const dc: (Huffman | undefined)[] = [];
    const ac: (Huffman | undefined)[] = [];
    for (let i = 0; i < count; i++) {
      const component = all.find(({ id }) => id === bytes[start + 1 + 2 * i]);
      if (!component || components.includes(component)) throw corrupt("a scan of an unknown component");
      component.quantization ??= this.#quantization[component.table];
      component.predicted = 0;
      components.push(component);
      dc.push(this.#dc[bytes[start + 2 + 2 * i]! >> 4]);
      ac.push(this.#ac[bytes[start + 2 + 2 * i]! & 15]);
    }
    const tail = start + 1 + 2 * count;
    const [first, last, high, low] = this.#isProgressive
      ? [bytes[tail]!, bytes[tail + 1]!, bytes[tail + 2]! >> 4, bytes[tail + 2]! & 15]
      : [0, 63, 0, 0];
    if (
      last > 63 ||
      first > last ||
      low > 13 ||
      (first > 0 && count > 1) ||
      (this.#isProgressive && first === 0 && last > 0)
    ) {
      throw corrupt("bad scan parameters");
    }
    await this.#decode({ components, dc, ac, first, last, high, low }, signal);
  }

  async #decode(scan: Scan, signal: CancelSignal | undefined): Promise<void> {
    const reader = new BitReader(this.#bytes, this.#at);
    const isSingle = scan.components.length === 1;
    const [only] = scan.components as [JpegComponent];
    const across = isSingle ? only.blocksAcross : only.blocksWide / only.h;
    const down = isSingle ? only.blocksDown : only.blocksHigh / only.v;
    const decodeBlock = this.#blockDecoder(scan, reader);
    this.#endOfBandRun = 0;
    let untilTurn = BLOCKS_PER_TURN;
    let untilRestart = this.#restartInterval;
    for (let mcu = 0; mcu < across * down; mcu++) {
      if (this.#restartInterval > 0 && untilRestart-- === 0) {
        this.#restart(scan, reader);
        untilRestart = this.#restartInterval - 1;
      }
      const [row, column] = [Math.floor(mcu / across), mcu % across];
      if (isSingle) {
        decodeBlock(0, (row * only.blocksWide + column) * BLOCK);
        untilTurn--;
      } else {
        for (let c = 0; c < scan.components.length; c++) {
          const { h, v, blocksWide } = scan.components[c]!;
          for (let y = 0; y < v; y++) {
            for (let x = 0; x < h; x++) decodeBlock(c, ((row * v + y) * blocksWide + column * h + x) * BLOCK);
          }
          untilTurn -= h * v;
        }
      }
      if (reader.overrun > 64) throw corrupt("image data ends too early");
      if (untilTurn <= 0) {
        untilTurn = BLOCKS_PER_TURN;
        await nextTurn();
        signal?.throwIfAborted();
      }
    }
    this.#at = reader.position;
  }

  #restart(scan: Scan, reader: BitReader): void {
    reader.reset();
    const bytes = this.#bytes;
    let at = reader.position;
    while (at + 1 < bytes.length && !(bytes[at] === 0xff && bytes[at + 1]! >= 0xd0 && bytes[at + 1]! <= 0xd7)) {
      if (bytes[at] === 0xff && bytes[at + 1] !== 0 && bytes[at + 1] !== 0xff)
        throw corrupt("a restart marker is missing");
      at++;
    }
    reader.position = Math.min(bytes.length, at + 2);
    reader.overrun = 0;
    for (const component of scan.components) component.predicted = 0;
    this.#endOfBandRun = 0;
  }

  #blockDecoder(scan: Scan, reader: BitReader): (component: number, at: number) => void {
    const { first, high } = scan;
    if (!this.#isProgressive) return (c, at) => baseline(scan, reader, c, at);
    if (first === 0) {
      return high === 0 ? (c, at) => dcFirst(scan, reader, c, at) : (c, at) => dcRefine(scan, reader, c, at);
    }
    return high === 0 ? (c, at) => this.#acFirst(scan, reader, c, at) : (c, at) => this.#acRefine(scan, reader, c, at);
  }

  #acFirst(scan: Scan, reader: BitReader, c: number, at: number): void {
    if (this.#endOfBandRun > 0) {
      this.#endOfBandRun--;
      return;
    }
    const { coefficients } = scan.components[c]!;
    const table = tableOf(scan.ac[c]);
    for (let k = scan.first; k <= scan.last; k++) {
      const symbol = reader.symbol(table);
      const [run, size] = [symbol >> 4, symbol & 15];
      if (size === 0) {
        if (run < 15) {
          this.#endOfBandRun = (1 << run) - 1 + reader.bits(run);
          return;
        }
        k += 15;
        continue;
      }
      k += run;
      if (k > 63) throw corrupt("coefficients beyond a block");
      coefficients[at + ZIGZAG[k]!] = reader.signed(size) * (1 << scan.low);
    }
  }

  #acRefine(scan: Scan, reader: BitReader, c: number, at: number): void {
    const { coefficients } = scan.components[c]!;
    const table = tableOf(scan.ac[c]);
    const [plus, minus] = [1 << scan.low, -1 << scan.low];
    const refine = (index: number): void => {
      const value = coefficients[index]!;
      if (reader.bit() === 1 && (value & plus) === 0) coefficients[index] = value + (value >= 0 ? plus : minus);
    };
    let k = scan.first;
    if (this.#endOfBandRun === 0) {
      for (; k <= scan.last; k++) {
        const symbol = reader.symbol(table);
        let run = symbol >> 4;
        let value = 0;
        if ((symbol & 15) !== 0) value = reader.bit() === 1 ? plus : minus;
        else if (run < 15) {
          this.#endOfBandRun = (1 << run) + reader.bits(run);
          break;
        }
        // Passes over coefficients that are already there, and `run` that are not.
        for (; k <= scan.last; k++) {
          const index = at + ZIGZAG[k]!;
          if (coefficients[index] !== 0) refine(index);
          else if (run-- === 0) {
            if (value !== 0) coefficients[index] = value;
            break;
          }
        }
      }
    }
    if (this.#endOfBandRun > 0) {
      for (; k <= scan.last; k++) {
        const index = at + ZIGZAG[k]!;
        if (coefficients[index] !== 0) refine(index);
      }
      this.#endOfBandRun--;
    }
  }
}

function text(bytes: Uint8Array, start: number, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString("latin1");
}

function baseline(scan: Scan, reader: BitReader, c: number, at: number): void {
  const component = scan.components[c]!;
  const { coefficients } = component;
  const size = reader.symbol(tableOf(scan.dc[c]));
  if (size > 15) throw corrupt("a bad DC coefficient");
  component.predicted += reader.signed(size);
  coefficients[at] = component.predicted;
  const table = tableOf(scan.ac[c]);
  for (let k = 1; k < BLOCK; k++) {
    const symbol = reader.symbol(table);
    const bits = symbol & 15;
    if (bits === 0) {
      if (symbol !== 0xf0) return;
      k += 15;
      continue;
    }
    k += symbol >> 4;
    if (k > 63) throw corrupt("coefficients beyond a block");
    coefficients[at + ZIGZAG[k]!] = reader.signed(bits);
  }
}

function dcFirst(scan: Scan, reader: BitReader, c: number, at: number): void {
  const component = scan.components[c]!;
  const size = reader.symbol(tableOf(scan.dc[c]));
  if (size > 15) throw corrupt("a bad DC coefficient");
  component.predicted += reader.signed(size);
  component.coefficients[at] = component.predicted * (1 << scan.low);
}

function dcRefine(scan: Scan, reader: BitReader, c: number, at: number): void {
  const { coefficients } = scan.components[c]!;
  if (reader.bit() === 1) coefficients[at] = coefficients[at]! | (1 << scan.low);
}
