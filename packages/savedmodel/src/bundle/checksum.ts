import { crc32c } from "@node-rs/crc32";

/** crc32c (Castagnoli) of `bytes`, continuing from `previous`. */
export function checksum(bytes: Uint8Array, previous = 0): number {
  return crc32c(bytes, previous);
}

/** LevelDB's masking: a checksum stored beside checksummed data must not look like one (leveldb util/crc32c.h). */
export function maskChecksum(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
