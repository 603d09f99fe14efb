/**
 * Pixels to baseline JPEG files, byte for byte as libjpeg-turbo writes them with its defaults: the integer DCT of jfdctint.c,
 * the tables of the standard's annex K scaled by the quality, chroma of half the resolution unless refused.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { ZIGZAG } from "./jpeg-scan.js";
import { AC_CODES, DC_CODES, HuffmanWriter } from "./jpeg-huffman.js";

export interface JpegImage {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  /** Row by row, channels together. */
  readonly data: Uint8Array;
}

export interface JpegSettings {
  /** 0 to 100. */
  readonly quality: number;
  readonly halvesChroma: boolean;
  /** JFIF's unit of density: 1 = dots per inch, 2 = per cm. */
  readonly densityUnit: 1 | 2;
  readonly xDensity: number;
  readonly yDensity: number;
  readonly xmp: Uint8Array;
}

// biome-ignore format: a table
const LUMINANCE = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
  18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
// biome-ignore format: a table
const CHROMINANCE = [
  17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
  99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];
/** Blocks between two turns of the event loop. */
const BLOCKS_PER_TURN = 4096;

function scaledTable(base: readonly number[], quality: number): Int32Array {
  const q = Math.min(Math.max(quality, 1), 100);
  const scale = q < 50 ? Math.floor(5000 / q) : 200 - 2 * q;
  return Int32Array.from(base, (step) => Math.min(Math.max(Math.floor((step * scale + 50) / 100), 1), 255));
}

/** One component at its own resolution, padded to whole blocks. */
interface Plane {
  readonly samples: Uint8Array;
  readonly blocksAcross: number;
  readonly blocksDown: number;
  /** Blocks of it in a unit of the scan, in each direction. */
  readonly factor: 1 | 2;
  readonly table: 0 | 1;
}

/** Fills a plane from `sample`, which may be asked for any position in the image; what lies outside repeats the edge. */
function planeOf(
  width: number,
  height: number,
  factor: 1 | 2,
  table: 0 | 1,
  sample: (x: number, y: number) => number,
): Plane {
  const [blocksAcross, blocksDown] = [Math.ceil(width / 8), Math.ceil(height / 8)];
  const stride = blocksAcross * 8;
  const samples = new Uint8Array(stride * blocksDown * 8);
  for (let y = 0; y < height; y++) for (let x = 0; x < stride; x++) samples[y * stride + x] = sample(x, y);
  for (let y = height; y < blocksDown * 8; y++) samples.copyWithin(y * stride, (height - 1) * stride, height * stride);
  return { samples, blocksAcross, blocksDown, factor, table };
}

function planesOf({ width, height, channels, data }: JpegImage, halvesChroma: boolean): Plane[] {
  const column = (x: number): number => Math.min(x, width - 1);
  if (channels === 1) return [planeOf(width, height, 1, 0, (x, y) => data[y * width + column(x)]!)];
  const count = width * height;
  const [luma, blue, red] = [new Uint8Array(count), new Uint8Array(count), new Uint8Array(count)];
  for (let i = 0; i < count; i++) {
    const [r, g, b] = [data[3 * i]!, data[3 * i + 1]!, data[3 * i + 2]!];
    luma[i] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
    blue[i] = (-11059 * r - 21709 * g + 32768 * b + 8421375) >> 16;
    red[i] = (32768 * r - 27439 * g - 5329 * b + 8421375) >> 16;
  }
  const whole = (plane: Uint8Array, factor: 1 | 2, table: 0 | 1): Plane =>
    planeOf(width, height, factor, table, (x, y) => plane[y * width + column(x)]!);
  if (!halvesChroma) return [whole(luma, 1, 0), whole(blue, 1, 1), whole(red, 1, 1)];
  const half = (plane: Uint8Array): Plane =>
    planeOf(Math.ceil(width / 2), Math.ceil(height / 2), 1, 1, (x, y) => {
      const [left, right] = [column(2 * x), column(2 * x + 1)];
      const [above, below] = [2 * y * width, Math.min(2 * y + 1, height - 1) * width];
      const sum = plane[above + left]! + plane[above + right]! + plane[below + left]! + plane[below + right]!;
      // Rounded up and down by turns, so that no area gets brighter.
      return (sum + 1 + (x & 1)) >> 2;
    });
  return [whole(luma, 2, 0), half(blue), half(red)];
}

const work = new Int32Array(64);

/** The forward DCT of jfdctint.c (Loeffler, Ligtenberg and Moschytz), 13 bits of fraction, in place: rows, then columns. */
function forwardDct(): void {
  for (let pass = 0; pass < 2; pass++) {
    const [step, gap] = pass === 0 ? [8, 1] : [1, 8];
    const shift = pass === 0 ? 11 : 15;
    const half = 1 << (shift - 1);
    for (let i = 0; i < 8; i++) {
      const at = i * step;
      const value = (k: number): number => work[at + k * gap]!;
      const [t0, t7] = [value(0) + value(7), value(0) - value(7)];
      const [t1, t6] = [value(1) + value(6), value(1) - value(6)];
      const [t2, t5] = [value(2) + value(5), value(2) - value(5)];
      const [t3, t4] = [value(3) + value(4), value(3) - value(4)];
      const [t10, t13, t11, t12] = [t0 + t3, t0 - t3, t1 + t2, t1 - t2];
      const put = (k: number, product: number): void => {
        work[at + k * gap] = (product + half) >> shift;
      };
      if (pass === 0) {
        work[at] = (t10 + t11) << 2;
        work[at + 4 * gap] = (t10 - t11) << 2;
      } else {
        work[at] = (t10 + t11 + 2) >> 2;
        work[at + 4 * gap] = (t10 - t11 + 2) >> 2;
      }
      const z1 = (t12 + t13) * 4433;
      put(2, z1 + t13 * 6270);
      put(6, z1 - t12 * 15137);
      const z5 = (t4 + t6 + t5 + t7) * 9633;
      const a = -(t4 + t7) * 7373;
      const b = -(t5 + t6) * 20995;
      const c = -(t4 + t6) * 16069 + z5;
      const d = -(t5 + t7) * 3196 + z5;
      put(7, t4 * 2446 + a + c);
      put(5, t5 * 16819 + b + d);
      put(3, t6 * 25172 + b + c);
      put(1, t7 * 12299 + a + d);
    }
  }
}

/** The quantised coefficients of one block into `out`, in the scan's order. */
function transform(plane: Plane, column: number, row: number, steps: Int32Array, out: Int32Array): void {
  const stride = plane.blocksAcross * 8;
  for (let y = 0; y < 8; y++) {
    const from = (row * 8 + y) * stride + column * 8;
    for (let x = 0; x < 8; x++) work[y * 8 + x] = plane.samples[from + x]! - 128;
  }
  forwardDct();
  for (let k = 0; k < 64; k++) {
    const at = ZIGZAG[k]!;
    const value = work[at]!;
    // The transform leaves values eight times too large.
    const divisor = steps[at]! * 8;
    const size = Math.floor((Math.abs(value) + (divisor >> 1)) / divisor);
    out[k] = value < 0 ? -size : size;
  }
}

function header(image: JpegImage, settings: JpegSettings, planes: readonly Plane[], tables: readonly Int32Array[]) {
  const out: number[] = [0xff, 0xd8];
  const segment = (marker: number, body: readonly number[]): void => {
    const size = body.length + 2;
    out.push(0xff, marker, size >> 8, size & 255, ...body);
  };
  const word = (value: number): number[] => [(value >> 8) & 255, value & 255];
  const density = [...word(settings.xDensity), ...word(settings.yDensity)];
  segment(0xe0, [...Buffer.from("JFIF\0"), 1, 1, settings.densityUnit, ...density, 0, 0]);
  if (settings.xmp.length > 0) segment(0xe1, [...Buffer.from("http://ns.adobe.com/xap/1.0/\0"), ...settings.xmp]);
  for (const [i, table] of tables.entries()) segment(0xdb, [i, ...Array.from(ZIGZAG, (at) => table[at]!)]);
  const parts = planes.flatMap(({ factor, table }, i) => [i + 1, (factor << 4) | factor, table]);
  segment(0xc0, [8, ...word(image.height), ...word(image.width), planes.length, ...parts]);
  for (const i of tables.keys()) {
    segment(0xc4, [i, ...DC_CODES[i]!.counts, ...DC_CODES[i]!.symbols]);
    segment(0xc4, [16 | i, ...AC_CODES[i]!.counts, ...AC_CODES[i]!.symbols]);
  }
  segment(0xda, [planes.length, ...planes.flatMap(({ table }, i) => [i + 1, (table << 4) | table]), 0, 63, 0]);
  return out;
}

/** Encodes a JPEG file; gives way to others between pieces of it. @param image  of at least one pixel, 65500 a side at most */
export async function encodeJpeg(image: JpegImage, settings: JpegSettings): Promise<Uint8Array> {
  const planes = planesOf(image, settings.halvesChroma);
  const tables = (image.channels === 1 ? [LUMINANCE] : [LUMINANCE, CHROMINANCE]).map((base) =>
    scaledTable(base, settings.quality),
  );
  const out = new HuffmanWriter(header(image, settings, planes, tables));
  const across = Math.max(...planes.map(({ blocksAcross, factor }) => Math.ceil(blocksAcross / factor)));
  const down = Math.max(...planes.map(({ blocksDown, factor }) => Math.ceil(blocksDown / factor)));
  const block = new Int32Array(64);
  // The quantised DC of the block before, by component.
  const before = new Int32Array(planes.length);
  let blocks = 0;
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      for (const [i, plane] of planes.entries()) {
        const { factor } = plane;
        for (let k = 0; k < factor * factor; k++) {
          const [column, row] = [x * factor + (k % factor), y * factor + Math.floor(k / factor)];
          if (column < plane.blocksAcross && row < plane.blocksDown) {
            transform(plane, column, row, tables[plane.table]!, block);
          } else {
            // Beyond the edge: an even block like the one before.
            block.fill(0);
            block[0] = before[i]!;
          }
          out.block(block, before[i]!, plane.table);
          before[i] = block[0]!;
          blocks++;
        }
      }
      if (blocks >= BLOCKS_PER_TURN) {
        blocks = 0;
        await nextTurn();
      }
    }
  }
  return out.finish();
}
