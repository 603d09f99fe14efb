/** Entropy-coded data of a JPEG scan (ITU-T T.81, annexes F and G): Huffman-coded bits to DCT coefficients. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { CancelSignal } from "@shardserve/core";
import { BitReader, corrupt, type Huffman, tableOf } from "./jpeg-bits.js";

/** Blocks decoded between two turns of the event loop. */
const BLOCKS_PER_TURN = 1024;

/** Coefficients of a block. */
export const BLOCK = 64;

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

/** What a scan header says, with the tables in force there. */
export interface Scan {
  readonly components: readonly JpegComponent[];
  readonly dc: readonly (Huffman | undefined)[];
  readonly ac: readonly (Huffman | undefined)[];
  /** First and last coefficient of the band, in the order of the file. */
  readonly first: number;
  readonly last: number;
  /** Bit positions of successive approximation: of the scan before (0 = there was none), and of this one. */
  readonly high: number;
  readonly low: number;
  readonly isProgressive: boolean;
  /** MCUs between two restart markers; 0 = none. */
  readonly restartInterval: number;
}

/**
 * Reads the data of a scan into the coefficients of its components.
 *
 * @param start  where the data begins in `bytes`
 * @returns where it ends
 */
export function decodeScan(
  scan: Scan,
  bytes: Uint8Array,
  start: number,
  signal: CancelSignal | undefined,
): Promise<number> {
  return new ScanDecoder(scan, bytes, start).decode(signal);
}

class ScanDecoder {
  readonly #scan: Scan;
  readonly #bytes: Uint8Array;
  readonly #reader: BitReader;
  /** Blocks that follow without a coefficient in the band. */
  #endOfBandRun = 0;

  constructor(scan: Scan, bytes: Uint8Array, start: number) {
    this.#scan = scan;
    this.#bytes = bytes;
    this.#reader = new BitReader(bytes, start);
  }

  async decode(signal: CancelSignal | undefined): Promise<number> {
    const scan = this.#scan;
    const reader = this.#reader;
    const isSingle = scan.components.length === 1;
    const [only] = scan.components as [JpegComponent];
    const across = isSingle ? only.blocksAcross : only.blocksWide / only.h;
    const down = isSingle ? only.blocksDown : only.blocksHigh / only.v;
    const decodeBlock = this.#blockDecoder();
    let untilTurn = BLOCKS_PER_TURN;
    let untilRestart = scan.restartInterval;
    for (let mcu = 0; mcu < across * down; mcu++) {
      if (scan.restartInterval > 0 && untilRestart-- === 0) {
        this.#restart();
        untilRestart = scan.restartInterval - 1;
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
    return reader.position;
  }

  #restart(): void {
    const reader = this.#reader;
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
    for (const component of this.#scan.components) component.predicted = 0;
    this.#endOfBandRun = 0;
  }

  #blockDecoder(): (component: number, at: number) => void {
    const scan = this.#scan;
    const reader = this.#reader;
    const { first, high, isProgressive } = scan;
    if (!isProgressive) return (c, at) => baseline(scan, reader, c, at);
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
