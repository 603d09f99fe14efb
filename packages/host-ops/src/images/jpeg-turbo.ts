/**
 * JPEG files by libjpeg-turbo, which TensorFlow has too, where its package is installed for this platform. It gives the same pixels as
 * decodeJpeg in a tenth of the time, on a thread of its own (docs/decisions/022).
 */
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

/** An image of no more pixels is decoded sooner than another thread is asked: in a tenth of a millisecond. */
const SYNC_PIXELS_MAX = 2 ** 15;

/** Each scan of a progressive file goes over all of the image. */
const SCANS_MAX = 200;

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
  if (!head || countScans(bytes) > SCANS_MAX) return undefined;
  const { width, height, components, isJfif } = head;
  const pixels = width * height;
  const channels = options.channels !== 0 ? options.channels : components === 1 ? 1 : 3;
  const isKnown = components === 1 || (components === 3 && (channels === 3 || isJfif));
  if (!isKnown || pixels === 0 || pixels > IMAGE_PIXELS_MAX) return undefined;
  const [data, file] = [new Uint8Array(pixels * channels), asBuffer(bytes)];
  const format = { format: channels === 1 ? turbo.FORMAT_GRAY : turbo.FORMAT_RGB };
  try {
    if (pixels <= SYNC_PIXELS_MAX) turbo.decompressSync(file, asBuffer(data), format);
    else await turbo.decompress(file, asBuffer(data), format);
  } catch {
    return undefined;
  }
  return { width, height, channels, data };
}

/** No fewer than there are. */
function countScans(bytes: Uint8Array): number {
  const file = asBuffer(bytes);
  let count = 0;
  for (let at = file.indexOf(SCAN_MARKER); at >= 0 && count <= SCANS_MAX; at = file.indexOf(SCAN_MARKER, at + 2))
    count++;
  return count;
}

const SCAN_MARKER = Buffer.of(0xff, 0xda);

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
}
