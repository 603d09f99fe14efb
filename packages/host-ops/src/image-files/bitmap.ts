/** BMP files of 8, 24 and 32 bits per pixel, as TensorFlow reads them. */
import { check, invalid } from "../call/errors.js";
import type { Image } from "./jpeg.js";
import { checkImageSize } from "./image-size.js";

/**
 * Decodes a BMP file.
 *
 * @param wanted  channels of the result: 0 = as in the file, 3, or 4
 * @throws ServingError INVALID_ARGUMENT for what is no such file, is cut off, or has more pixels than are decoded
 */
export function decodeBmp(bytes: Uint8Array, wanted: number): Image {
  check(
    bytes.length > 32,
    () =>
      "Incomplete bmp content, requires at least 32 bytes to find the header size, width, height, and bpp, got " +
      `${bytes.length} bytes`,
  );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = view.getInt32(10, true);
  const [width, tall] = [view.getInt32(18, true), view.getInt32(22, true)];
  const bits = view.getUint16(28, true);
  check(
    bits === 8 || bits === 24 || bits === 32,
    () => `Number of channels inherent in the image must be 1, 3 or 4, was ${bits / 8}`,
  );
  const height = Math.abs(tall);
  const stored = bits / 8;
  check(
    wanted === 0 || wanted === 3 || wanted === 4,
    () => `\`channels\` must be 0, 3 or 4 for BMP, but got ${wanted}`,
  );
  const channels = wanted === 0 ? stored : wanted;
  check(width > 0, () => `Width must be positive: ${width}`);
  check(height > 0, () => `Height must not be zero: ${height}`);
  checkImageSize(width, height);
  const rowBytes = Math.floor((bits * width + 31) / 32) * 4;
  if (start < 0 || start + (height - 1) * rowBytes + width * stored > bytes.length) {
    throw invalid(
      `Incomplete bmp content, requires at least ${start + rowBytes * height} bytes, got ${bytes.length} bytes`,
    );
  }
  const data = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    const from = start + (tall > 0 ? height - 1 - y : y) * rowBytes;
    for (let x = 0; x < width; x++) {
      const to = (y * width + x) * channels;
      const at = from + x * stored;
      for (let c = 0; c < channels; c++) {
        // Blue comes first in the file; grey is repeated, and what has no alpha is opaque.
        const isAlpha = c === 3;
        data[to + c] = isAlpha ? (stored === 4 ? bytes[at + 3]! : 255) : bytes[at + (stored === 1 ? 0 : 2 - c)]!;
      }
    }
  }
  return { width, height, channels, data };
}
