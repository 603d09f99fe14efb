import { ServingError } from "@shardserve/core";
import { WireReader } from "@shardserve/tensor";

/** No element expands further: a 3-byte copy yields at most 64 bytes. */
const RATIO_MAX = 22;

/**
 * Decompresses one raw snappy block (google/snappy format_description.txt). Allocates at most 22 bytes per input byte.
 *
 * @throws ServingError INVALID_ARGUMENT when the bytes are no snappy block
 */
export function snappyUncompress(input: Uint8Array): Uint8Array {
  const reader = new WireReader(input);
  const length = reader.varint();
  if (length > RATIO_MAX * input.length) throw broken(`claims ${length} bytes`);
  const out = new Uint8Array(length);
  let written = 0;
  while (reader.position < input.length) {
    const tag = input[reader.position++]!;
    if ((tag & 3) === 0) {
      let size = (tag >> 2) + 1;
      if (size > 60) size = littleEndian(reader, size - 60) + 1;
      if (size > input.length - reader.position || size > length - written)
        throw broken("has a literal that is too long");
      out.set(input.subarray(reader.position, reader.position + size), written);
      reader.position += size;
      written += size;
      continue;
    }
    const size = (tag & 3) === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const offset =
      (tag & 3) === 1 ? ((tag >> 5) << 8) | littleEndian(reader, 1) : littleEndian(reader, (tag & 3) === 2 ? 2 : 4);
    if (offset === 0 || offset > written || size > length - written) throw broken("copies from outside");
    for (const end = written + size; written < end; written++) out[written] = out[written - offset]!; // may overlap
  }
  if (written !== length) throw broken(`holds ${written} bytes instead of ${length}`);
  return out;
}

function littleEndian(reader: WireReader, byteCount: number): number {
  if (byteCount > reader.end - reader.position) throw broken("ends early");
  let value = 0;
  for (let i = byteCount - 1; i >= 0; i--) value = value * 256 + reader.bytes[reader.position + i]!;
  reader.position += byteCount;
  return value;
}

function broken(what: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", `a snappy block ${what}`);
}
