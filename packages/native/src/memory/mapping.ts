import { closeSync, fstatSync, openSync } from "node:fs";
import { invariant, ServingError } from "@shardserve/core";
import { lastErrno, MAP, MAP_FAILED, mmap, munmap, PROT } from "./libc.js";
import { NativeMemory } from "./native-memory.js";

/** Mappings start at multiples of this, in memory and in files. */
export const PAGE_BYTES = 4096;

/** A range of a file in the address space. */
export interface MappedFile extends Disposable {
  /** Exactly the bytes asked for; the mapping itself starts at a page. Read-only: a write crashes the process. */
  readonly memory: NativeMemory;
  /** Unmaps; a second call does nothing. Nothing may look at the memory after it. */
  close(): void;
}

/**
 * Maps `[offset, offset + length)` of a file read-only and shared, so that all processes use one copy in the page cache.
 * The file must not shrink while mapped: reading past its end kills the process (SIGBUS).
 *
 * @param options.offset  in bytes, need not be aligned; default 0
 * @param options.length  in bytes; default to the end of the file
 * @throws ServingError NOT_FOUND when the file cannot be opened, INVALID_ARGUMENT when the range exceeds it,
 *   RESOURCE_EXHAUSTED when the system refuses the mapping
 */
export function mapFile(
  path: string,
  options: { readonly offset?: number; readonly length?: number } = {},
): MappedFile {
  const fd = openForMapping(path);
  try {
    const size = fstatSync(fd).size;
    const offset = options.offset ?? 0;
    const length = options.length ?? size - offset;
    if (offset < 0 || length < 0 || offset + length > size) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        `${path}: bytes [${offset}, ${offset + length}) lie outside the file of ${size} bytes`,
      );
    }
    const lead = offset % PAGE_BYTES;
    const mappedBytes = Math.max(lead + length, 1);
    const address = mmap(null, mappedBytes, PROT.read, MAP.shared, fd, offset - lead);
    if (address === MAP_FAILED) {
      throw new ServingError("RESOURCE_EXHAUSTED", `${path}: cannot map ${length} bytes: ${lastErrno()}`);
    }
    return new Mapping(address, mappedBytes, lead, length);
  } finally {
    closeSync(fd); // a mapping outlives its descriptor
  }
}

function openForMapping(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw new ServingError("NOT_FOUND", `cannot open ${path}: ${(error as Error).message}`, { cause: error });
  }
}

class Mapping implements MappedFile {
  readonly memory: NativeMemory;
  readonly #address: bigint;
  readonly #mappedBytes: number;
  #isClosed = false;

  constructor(address: bigint, mappedBytes: number, lead: number, length: number) {
    this.#address = address;
    this.#mappedBytes = mappedBytes;
    this.memory = new NativeMemory(address + BigInt(lead), length, this);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    munmap(this.#address, this.#mappedBytes);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * A stretch of addresses with nothing behind it, into which files are mapped at chosen places, so that far-apart files
 * form one array. Costs no memory. Touching a place where nothing is mapped kills the process.
 */
export class AddressRange implements Disposable {
  /** The whole range, holes included. */
  readonly memory: NativeMemory;
  #isClosed = false;

  constructor(address: bigint, byteLength: number) {
    this.memory = new NativeMemory(address, byteLength, this);
  }

  get byteLength(): number {
    return this.memory.byteLength;
  }

  /**
   * Maps `[fileOffset, fileOffset + length)` of an open file, read-only and shared, at `atOffset` of this range,
   * in place of what was there. The descriptor may be closed afterwards.
   *
   * @param fileOffset  multiple of {@link PAGE_BYTES}
   * @param atOffset    multiple of {@link PAGE_BYTES}
   * @throws ServingError RESOURCE_EXHAUSTED when the system refuses
   */
  mapFile(fd: number, fileOffset: number, length: number, atOffset: number): void {
    this.#place(length, atOffset, PROT.read, MAP.shared | MAP.fixed, fd, fileOffset);
  }

  /**
   * Puts zeroed, writable memory at `[atOffset, atOffset + length)`, in place of what was there. Pages cost memory only
   * once touched.
   *
   * @param atOffset  multiple of {@link PAGE_BYTES}
   * @throws ServingError RESOURCE_EXHAUSTED when the system refuses
   */
  mapMemory(atOffset: number, length: number): void {
    this.#place(length, atOffset, PROT.read | PROT.write, MAP.private | MAP.anonymous | MAP.fixed, -1, 0);
  }

  /** Turns `[atOffset, atOffset + length)` back into a hole and frees what it held. Nothing may use it meanwhile. */
  unmap(atOffset: number, length: number): void {
    this.#place(length, atOffset, PROT.none, MAP.private | MAP.anonymous | MAP.noReserve | MAP.fixed, -1, 0);
  }

  /** A view of mapped bytes, at most 2 GiB. */
  view(offset: number, length: number): Uint8Array {
    return this.memory.slice(offset, length);
  }

  /** Unmaps all of it; a second call does nothing. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    munmap(this.memory.address, this.byteLength);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #place(length: number, atOffset: number, protection: number, flags: number, fd: number, fileOffset: number): void {
    invariant(!this.#isClosed, "the address range is closed");
    invariant(
      atOffset >= 0 && length > 0 && atOffset + length <= this.byteLength,
      `[${atOffset}, ${atOffset + length}) of an address range of ${this.byteLength} bytes`,
    );
    invariant(atOffset % PAGE_BYTES === 0 && fileOffset % PAGE_BYTES === 0, "mappings start at whole pages");
    const at = this.memory.address + BigInt(atOffset);
    if (mmap(at, length, protection, flags, fd, fileOffset) === MAP_FAILED) {
      throw new ServingError("RESOURCE_EXHAUSTED", `cannot map ${length} bytes: ${lastErrno()}`);
    }
  }
}

/**
 * Reserves `bytes` of address space, rounded up to whole pages.
 *
 * @throws ServingError RESOURCE_EXHAUSTED when the system refuses (a limit on address space, ulimit -v)
 */
export function reserveAddresses(bytes: number): AddressRange {
  const length = Math.max(Math.ceil(bytes / PAGE_BYTES), 1) * PAGE_BYTES;
  const address = mmap(null, length, PROT.none, MAP.private | MAP.anonymous | MAP.noReserve, -1, 0);
  if (address === MAP_FAILED) {
    throw new ServingError("RESOURCE_EXHAUSTED", `cannot reserve ${length} bytes of addresses: ${lastErrno()}`);
  }
  return new AddressRange(address, length);
}
