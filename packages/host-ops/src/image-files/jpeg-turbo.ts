/**
 * JPEG files by libjpeg-turbo, which TensorFlow has too, where its package is installed for this platform. It gives the same pixels as
 * decodeJpeg in a tenth of the time, on a thread of its own (docs/decisions/022).
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { CancelSignal } from "@shardserve/core";
import { IMAGE_PIXELS_MAX } from "./image-size.js";
import { decodeJpeg, type Image, type JpegOptions } from "./jpeg.js";
import { readJpegHead } from "./jpeg-head.js";

/** What is used of the package; it need not be there when this is compiled either. */
interface Turbo {
  readonly FORMAT_GRAY: number;
  readonly FORMAT_RGB: number;
  decompressSync(file: Buffer, pixels: Buffer, options: { readonly format: number }): unknown;
  decompress(file: Buffer, pixels: Buffer, options: { readonly format: number }): Promise<unknown>;
}

const PACKAGE = "@julusian/jpeg-turbo";

/** Pixels times scans that are decoded sooner than another thread is asked: in a tenth of a millisecond. */
const SYNC_WORK_MAX = 2 ** 15;

/** Pixels times scans that a thread is occupied with, as nothing can stop it: about a second. */
const WORK_MAX = 2 ** 28;

/** A block of 64 pixels takes a bit or more. What is much shorter was cut, which is soonest found here. */
const PIXELS_PER_BYTE_MAX = 1024;

/** Bytes that are searched in one turn of the event loop. */
const BYTES_PER_TURN = 2 ** 20;

let loading: Promise<Turbo | undefined> | undefined;

/** Undefined where the package is not installed, or has no library for this platform. */
export function loadTurbo(): Promise<Turbo | undefined> {
  loading ??= import(PACKAGE).then(
    (module: { readonly default: Turbo }) => module.default,
    () => undefined,
  );
  return loading;
}

/**
 * As {@link decodeJpeg}. What libjpeg-turbo is not asked for, and whatever it finds fault with, is decoded there, which tells the
 * fault.
 */
export async function decodeJpegFile(bytes: Uint8Array, options: JpegOptions, signal?: CancelSignal): Promise<Image> {
  const turbo = await loadTurbo();
  const image = turbo && (await decodeByTurbo(turbo, bytes, options));
  signal?.throwIfAborted();
  return image ?? decodeJpeg(bytes, options, signal);
}

/** Undefined where it is another decoder's. */
export async function decodeByTurbo(turbo: Turbo, bytes: Uint8Array, options: JpegOptions): Promise<Image | undefined> {
  const isUsual = options.isFancy && !options.isAccurate && options.ratio === 1 && !options.crop;
  const head = isUsual ? readJpegHead(bytes) : undefined;
  if (!head) return undefined;
  const { width, height, components, isJfif } = head;
  const pixels = width * height;
  const channels = options.channels !== 0 ? options.channels : components === 1 ? 1 : 3;
  const isKnown = components === 1 || (components === 3 && (channels === 3 || isJfif));
  // Also what keeps the sizes that the package computes within 31 bits.
  if (!isKnown || pixels === 0 || pixels > IMAGE_PIXELS_MAX) return undefined;
  if (pixels > bytes.length * PIXELS_PER_BYTE_MAX) return undefined;
  const work = pixels * (head.isBuffered ? await countScans(bytes) : 1);
  if (work > WORK_MAX) return undefined;
  const [data, file] = [new Uint8Array(pixels * channels), asBuffer(bytes)];
  const format = { format: channels === 1 ? turbo.FORMAT_GRAY : turbo.FORMAT_RGB };
  try {
    if (work <= SYNC_WORK_MAX && bytes.length <= BYTES_PER_TURN) turbo.decompressSync(file, asBuffer(data), format);
    else await turbo.decompress(file, asBuffer(data), format);
  } catch {
    return undefined;
  }
  return { width, height, channels, data };
}

/** No fewer than there are: each goes over all of the image. */
async function countScans(bytes: Uint8Array): Promise<number> {
  const file = asBuffer(bytes);
  let count = 0;
  for (let start = 0; start < file.length; start += BYTES_PER_TURN) {
    if (start > 0) await nextTurn();
    const part = file.subarray(start, start + BYTES_PER_TURN + 1);
    for (let at = part.indexOf(SCAN_MARKER); at >= 0; at = part.indexOf(SCAN_MARKER, at + 2)) count++;
  }
  return count;
}

const SCAN_MARKER = Buffer.of(0xff, 0xda);

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
}
