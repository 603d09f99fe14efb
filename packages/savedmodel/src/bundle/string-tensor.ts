/**
 * How a TensorBundle stores strings (WriteStringTensor of tensor_bundle.cc): all lengths as varints, the masked crc32c
 * of the lengths, all bytes. Checksums run over the lengths as 32-bit numbers (64-bit above 4 GiB), not over varints.
 */
import { ServingError } from "@shardserve/core";
import { StringColumn, WireReader } from "@shardserve/tensor";
import { checksum, maskChecksum } from "./checksum.js";
import { varint } from "./varint.js";

/**
 * @returns a view of `bytes`, and the unmasked checksum that the entry must carry
 * @throws ServingError INVALID_ARGUMENT when lengths and bytes do not add up
 */
export function decodeStrings(bytes: Uint8Array, count: number): { column: StringColumn; crc: number } {
  if (count > bytes.length) throw broken(`${bytes.length} bytes cannot hold ${count} strings`);
  const reader = new WireReader(bytes);
  const offsets = new Uint32Array(count + 1);
  const lengths = new Uint32Array(count);
  let total = 0;
  for (let i = 0; i < count; i++) {
    const length = reader.varint();
    total += length;
    if (total > bytes.length) throw broken(`string ${i} has ${length} bytes, more than there are`);
    lengths[i] = length;
    offsets[i + 1] = total;
  }
  const data = reader.position + 4;
  if (data + total !== bytes.length) throw broken(`${bytes.length} bytes stored, ${data + total} needed`);
  const lengthsCrc = checksum(new Uint8Array(lengths.buffer));
  const stored = bytes.subarray(reader.position, data);
  if (
    new DataView(bytes.buffer, bytes.byteOffset + reader.position, 4).getUint32(0, true) !== maskChecksum(lengthsCrc)
  ) {
    throw broken("the lengths do not match their checksum");
  }
  const crc = checksum(bytes.subarray(data), checksum(stored, lengthsCrc));
  return { column: new StringColumn(bytes.subarray(data), offsets), crc };
}

/** The stored form of a column in two pieces, and its unmasked checksum. */
export function encodeStrings(column: StringColumn): { head: Uint8Array; data: Uint8Array; crc: number } {
  const lengths = new Uint32Array(column.length);
  const head: number[] = [];
  for (let i = 0; i < column.length; i++) {
    lengths[i] = column.offsets[i + 1]! - column.offsets[i]!;
    for (const byte of varint(lengths[i]!)) head.push(byte);
  }
  const lengthsCrc = checksum(new Uint8Array(lengths.buffer));
  const stored = new Uint8Array(Uint32Array.of(maskChecksum(lengthsCrc)).buffer);
  const data = column.bytes.subarray(column.offsets[0], column.offsets[column.length]);
  const crc = checksum(data, checksum(stored, lengthsCrc));
  return { head: Buffer.concat([Uint8Array.from(head), stored]), data, crc };
}

function broken(what: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", what);
}
