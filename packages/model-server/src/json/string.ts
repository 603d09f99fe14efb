import { hexDigit, skipString } from "./document.js";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ESCAPED: Readonly<Record<number, number>> = { 0x62: 8, 0x66: 12, 0x6e: 10, 0x72: 13, 0x74: 9 };

/**
 * The bytes of the string that starts at `offset`, escapes resolved: a view of the text where it has none. Bytes that
 * are no UTF-8 pass through, as TensorFlow Serving lets them. For checked text.
 */
export function stringBytes(bytes: Buffer, offset: number): Buffer {
  const raw = bytes.subarray(offset + 1, skipString(bytes, offset) - 1);
  return raw.includes(BACKSLASH) ? unescape(raw) : raw;
}

/** Whether the string at `offset` is `text`. For checked text. */
export function isStringAt(bytes: Buffer, offset: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    const byte = bytes[offset + 1 + i]!;
    if (unit >= 0x80 || byte === BACKSLASH) {
      return (
        endsWithin(bytes, offset, text.length * UNIT_BYTES_MAX) && stringBytes(bytes, offset).equals(Buffer.from(text))
      );
    }
    if (byte !== unit || byte === QUOTE) return false; // a quote within a string is written with a backslash
  }
  return bytes[offset + 1 + text.length] === QUOTE;
}

/** Most bytes that a UTF-16 unit takes in a text: \uXXXX. */
const UNIT_BYTES_MAX = 6;

/** Whether the string at `offset` has about `length` bytes at most; one that is much longer is not read to its end. */
function endsWithin(bytes: Buffer, offset: number, length: number): boolean {
  const last = offset + 1 + length;
  for (offset++; bytes[offset] !== QUOTE; offset++) {
    if (offset >= last) return false;
    if (bytes[offset] === BACKSLASH) offset++;
  }
  return true;
}

function unescape(raw: Buffer): Buffer {
  const out = Buffer.allocUnsafe(raw.length); // an escape never gets longer
  let length = 0;
  for (let i = 0; i < raw.length; i++) {
    if (raw[i] !== BACKSLASH) {
      out[length++] = raw[i]!;
      continue;
    }
    const kind = raw[++i]!;
    if (kind !== 0x75) {
      out[length++] = ESCAPED[kind] ?? kind;
      continue;
    }
    let point = codeUnit(raw, i + 1);
    i += 4;
    if (point >= 0xd800 && point <= 0xdbff) {
      point = 0x10000 + ((point - 0xd800) << 10) + (codeUnit(raw, i + 3) - 0xdc00);
      i += 6;
    }
    length += out.write(String.fromCodePoint(point), length);
  }
  return out.subarray(0, length);
}

function codeUnit(raw: Buffer, offset: number): number {
  let unit = 0;
  for (let i = offset; i < offset + 4; i++) unit = unit * 16 + hexDigit(raw[i]!);
  return unit;
}

/** Standard base64; padding may be left out, white space is skipped. Undefined for anything else. */
export function decodeBase64(text: Buffer): Buffer | undefined {
  return decodeDigits(text.toString("latin1")) ?? decodeDigits(text.toString("latin1").replaceAll(/\s/g, ""));
}

function decodeDigits(text: string): Buffer | undefined {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const digits = text.length - padding;
  if (digits % 4 === 1 || (padding > 0 && text.length % 4 !== 0)) return undefined;
  // The runtime skips what is no digit, which shows in the length; it also takes the URL alphabet, which we do not.
  const decoded = Buffer.from(text, "base64");
  const isWhole = decoded.length === Math.floor((digits * 3) / 4) && !text.includes("-") && !text.includes("_");
  return isWhole ? decoded : undefined;
}
