/** Reads protobuf messages field by field, without a schema: where one is not worth having, or objects for all fields are too many. */
import type { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/** Gets every field of a message; reads its value and returns true, or leaves it. */
export type FieldReader = (field: number, type: WireType) => boolean;

/**
 * Reads the message that ends at `end`.
 *
 * @throws RangeError where a field leaves it
 */
export function readFields(reader: BinaryReader, end: number, read: FieldReader): void {
  while (reader.pos < end) {
    const [field, type] = reader.tag();
    if (!read(field, type)) reader.skip(type, field);
  }
  if (reader.pos !== end) throw new RangeError("a message ends inside of a field");
}

/**
 * Reads a message inside of another, from its length on.
 *
 * @returns true, as a {@link FieldReader} does
 * @throws RangeError where it leaves the buffer, or a field leaves it
 */
export function readMessage(reader: BinaryReader, read: FieldReader): true {
  const length = reader.uint32();
  const end = reader.pos + length;
  if (end > reader.len) throw new RangeError("a message leaves its buffer");
  readFields(reader, end, read);
  return true;
}
