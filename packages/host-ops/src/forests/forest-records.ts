/**
 * Files of nodes: records behind one another, one a node. Blob sequences ("BS", a version, then for each record its length in four
 * bytes) may be compressed as a whole; TFRecords have a length in eight bytes, and checksums that are not looked at.
 */
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { OUTPUT_BYTES_MAX } from "../call/limits.js";
import { damaged, unsupported } from "./forest-errors.js";

/** How records of a file are framed. */
interface Framing {
  /** Where the first record's frame starts. */
  readonly first: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

export interface NodeFile {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly framing: Framing;
}

const BLOBS: Framing = { first: 8, bytesBefore: 4, bytesAfter: 0 };
const UNPACKED_BLOBS: Framing = { ...BLOBS, first: 0 };
const TF_RECORDS: Framing = { first: 0, bytesBefore: 12, bytesAfter: 4 };
const VERSION_MAX = 1;
const GZIP = 1;
const unpack = promisify(gunzip);

/**
 * @param format  the header's node_format
 * @throws ServingError SAVED_MODEL_INVALID for bytes of another format, UNIMPLEMENTED for other formats
 */
export async function openNodeFile(name: string, bytes: Uint8Array, format: string): Promise<NodeFile> {
  if (format === "TFE_RECORDIO") return { name, bytes, framing: TF_RECORDS };
  if (!format.startsWith("BLOB_SEQUENCE")) throw unsupported(`its node format ${format}`);
  if (bytes.length < BLOBS.first || bytes[0] !== 0x42 || bytes[1] !== 0x53) throw damaged(name, "no blob sequence");
  const version = bytes[2]! | (bytes[3]! << 8);
  if (version > VERSION_MAX) throw unsupported(`version ${version} of blob sequences (${name})`);
  const compression = version === 0 ? 0 : bytes[4]!;
  if (compression === 0) return { name, bytes, framing: BLOBS };
  if (compression !== GZIP) throw unsupported(`compression ${compression} of blob sequences (${name})`);
  try {
    const unpacked = await unpack(bytes.subarray(BLOBS.first), { maxOutputLength: OUTPUT_BYTES_MAX });
    return { name, bytes: unpacked, framing: UNPACKED_BLOBS };
  } catch (error) {
    throw damaged(name, (error as Error).message);
  }
}

/** Walks over the records of a file. */
export class Records {
  /** Of the record that {@link next} came to, and where it ends. */
  start = 0;
  end = 0;
  readonly #file: NodeFile;
  readonly #view: DataView;
  #at: number;

  constructor(file: NodeFile) {
    const { bytes, framing } = file;
    this.#file = file;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = framing.first;
  }

  /**
   * @returns false at the end of the file
   * @throws ServingError SAVED_MODEL_INVALID where it ends inside of a record
   */
  next(): boolean {
    const { name, bytes, framing } = this.#file;
    const left = bytes.length - this.#at;
    if (left === 0) return false;
    const body = left - framing.bytesBefore - framing.bytesAfter;
    if (body < 0) throw damaged(name, `it ends inside of a record, at byte ${this.#at}`);
    const length = this.#view.getUint32(this.#at, true);
    // Of a length in eight bytes the upper four must be zeros: no node has 4 GiB.
    const isHuge = framing === TF_RECORDS && this.#view.getUint32(this.#at + 4, true) !== 0;
    if (isHuge || length > body) throw damaged(name, `the record at byte ${this.#at} is longer than the file`);
    this.start = this.#at + framing.bytesBefore;
    this.end = this.start + length;
    this.#at = this.end + framing.bytesAfter;
    return true;
  }
}
