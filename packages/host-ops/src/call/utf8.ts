/**
 * Bytes of the UTF-8 character at `at` (Unicode 15, table 3-7). A negative result says how many bytes from there on are
 * malformed together (the maximal part of a character that was cut off, else one byte).
 */
export function charSize(bytes: Uint8Array, at: number, end: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return 1;
  const size =
    first >= 0xf0 && first <= 0xf4 ? 4 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xc2 && first < 0xe0 ? 2 : 0;
  if (size === 0) return -1;
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (at + 1 >= end || bytes[at + 1]! < low || bytes[at + 1]! > high) return -1;
  for (let i = 2; i < size; i++) if (at + i >= end || (bytes[at + i]! & 0xc0) !== 0x80) return -i;
  return size;
}

/** The code point of the well-formed character of `size` bytes at `at`. */
export function codePointAt(bytes: Uint8Array, at: number, size: number): number {
  let code = size === 1 ? bytes[at]! : bytes[at]! & (0xff >> (size + 1));
  for (let i = 1; i < size; i++) code = (code << 6) | (bytes[at + i]! & 0x3f);
  return code;
}
