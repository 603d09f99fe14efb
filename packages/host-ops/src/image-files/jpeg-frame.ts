/**
 * Markers of a JPEG stream (ITU-T T.81): a stream to DCT coefficients. Baseline, extended and progressive Huffman coding
 * with 8-bit samples, as libjpeg reads them. Input may be hostile: every read is bounded.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { CancelSignal } from "@shardserve/core";
import { checkImageSize } from "./image-size.js";
import { corrupt, huffman, type Huffman } from "./jpeg-bits.js";
import { BLOCK, decodeScan, type JpegComponent, ZIGZAG } from "./jpeg-scan.js";

/** Segments read between two turns of the event loop, and bytes of one behind which there is a turn: it may be hundreds of tables. */
const SEGMENTS_PER_TURN = 16;
const SEGMENT_BYTES_PER_TURN = 4096;

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

/** Reads a whole stream into coefficients. */
export async function readJpeg(bytes: Uint8Array, signal?: CancelSignal): Promise<JpegFrame> {
  const reader = new FrameReader(bytes);
  return reader.read(signal);
}

/** Walks the markers of a stream: tables and the frame header are read here, what follows a scan header by {@link decodeScan}. */
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
  #scanCount = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  async read(signal: CancelSignal | undefined): Promise<JpegFrame> {
    if (this.#bytes[0] !== 0xff || this.#bytes[1] !== 0xd8) throw corrupt("no start of image");
    this.#at = 2;
    for (let segments = 1; ; segments++) {
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
      if (segments % SEGMENTS_PER_TURN === 0 || length > SEGMENT_BYTES_PER_TURN) await nextTurn();
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
    for (let found = bytes.indexOf(0xff, this.#at); found >= 0; found = bytes.indexOf(0xff, this.#at)) {
      this.#at = found + 1;
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
    checkImageSize(width, height);
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
    const isProgressive = this.#isProgressive;
    const scan = { components, dc, ac, first, last, high, low, isProgressive, restartInterval: this.#restartInterval };
    this.#at = await decodeScan(scan, bytes, this.#at, signal);
  }
}

function text(bytes: Uint8Array, start: number, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString("latin1");
}
