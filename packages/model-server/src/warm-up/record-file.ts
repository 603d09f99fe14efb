import { type FileHandle, open } from "node:fs/promises";
import { readAt, ServingError } from "@shardserve/core";
import { checksum, maskChecksum } from "@shardserve/savedmodel";

/** uint64 length and the masked crc32c of it. */
const HEADER_BYTES = 12;
const FOOTER_BYTES = 4;

/**
 * The records of a TFRecord file, one after another: uint64 length, masked crc32c of the length, data, masked crc32c of
 * the data, all little-endian (tensorflow/core/lib/io/record_writer.cc).
 *
 * @throws ServingError CHECKSUM_MISMATCH (DATA_LOSS) when a record is damaged or cut off, FAILED_PRECONDITION when it cannot be read
 */
export async function* readRecords(path: string): AsyncGenerator<Buffer> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    const status = await file.stat();
    if (!status.isFile()) throw unreadable(path, new Error("it is no file"));
    const { size } = status;
    for (let at = 0; at < size; ) {
      const damaged = (what: string) =>
        new ServingError(
          "CHECKSUM_MISMATCH",
          `${path}: ${what} at byte ${at}. Please verify your warmup data is in TFRecord format.`,
        );
      if (at + HEADER_BYTES + FOOTER_BYTES > size) throw damaged("truncated record");
      const header = await readExactly(file, at, HEADER_BYTES);
      if (maskChecksum(checksum(header.subarray(0, 8))) !== header.readUInt32LE(8)) throw damaged("corrupted record");
      const length = header.readBigUInt64LE(0);
      if (length > BigInt(size - at - HEADER_BYTES - FOOTER_BYTES)) throw damaged("truncated record");
      const body = await readExactly(file, at + HEADER_BYTES, Number(length) + FOOTER_BYTES);
      const data = body.subarray(0, Number(length));
      if (maskChecksum(checksum(data)) !== body.readUInt32LE(data.length)) throw damaged("corrupted record");
      at += HEADER_BYTES + body.length;
      yield data;
    }
  } finally {
    await file.close();
  }
}

function unreadable(path: string, cause: unknown): ServingError {
  return new ServingError("FAILED_PRECONDITION", `${path} cannot be read: ${(cause as Error).message}`, { cause });
}

/** @throws ServingError CHECKSUM_MISMATCH when the file has become shorter */
async function readExactly(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  const count = await readAt(file, buffer, at);
  if (count < length) throw new ServingError("CHECKSUM_MISMATCH", `the file ends at byte ${at + count}`);
  return buffer;
}
