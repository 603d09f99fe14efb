import { check } from "../call/errors.js";

/** The most pixels that an image may have: decoders hold samples of all of them, and some coefficients as well. */
export const IMAGE_PIXELS_MAX = 2 ** 26;

/** Fails where an image has more pixels than are decoded. */
export function checkImageSize(width: number, height: number): void {
  check(
    width * height <= IMAGE_PIXELS_MAX,
    () => `Image too large: ${width} x ${height} pixels, at most ${IMAGE_PIXELS_MAX} are decoded`,
  );
}
