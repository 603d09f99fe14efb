import { invariant, ServingError } from "@shardserve/core";
import koffi from "koffi";
import {
  type Advice,
  lastErrno,
  MADV,
  MADV_HUGEPAGE,
  MADV_POPULATE_READ,
  MAP,
  MAP_FAILED,
  madvise,
  mmap,
  munmap,
  PROT,
} from "./libc.js";

/** Largest view given out; V8 refuses larger ArrayBuffers on some versions and koffi aborts on them. */
const VIEW_BYTES_MAX = 2 ** 31;

/**
 * A range of memory outside the JavaScript heap: an anonymous allocation, a mapped file, or a part of either.
 *
 * Whoever made it frees it; a view used after that crashes the process, so owners free only when nothing can look.
 * Views are cheap but not free: V8 counts their length as memory that it keeps, so take small ones of big mappings.
 */
export class NativeMemory {
  /** Address of the first byte. */
  readonly address: bigint;
  readonly byteLength: number;
  /** What must stay reachable while this range is in use. */
  readonly owner: object | undefined;

  constructor(address: bigint, byteLength: number, owner?: object) {
    this.address = address;
    this.byteLength = byteLength;
    this.owner = owner;
  }

  /** The whole range as a view. @throws InvariantError above {@link VIEW_BYTES_MAX} bytes; use {@link slice} */
  get bytes(): Uint8Array {
    return this.slice(0, this.byteLength);
  }

  /** A view of `[offset, offset + length)`, at most {@link VIEW_BYTES_MAX} bytes. */
  slice(offset: number, length: number): Uint8Array {
    this.#check(offset, length);
    invariant(length <= VIEW_BYTES_MAX, () => `a view of ${length} bytes is larger than ${VIEW_BYTES_MAX}`);
    if (length === 0) return new Uint8Array(0);
    return new Uint8Array(koffi.view(this.address + BigInt(offset), length));
  }

  /** The same memory from `offset`, `length` bytes long; keeps the owner reachable. */
  part(offset: number, length: number): NativeMemory {
    this.#check(offset, length);
    return new NativeMemory(this.address + BigInt(offset), length, this.owner ?? this);
  }

  /**
   * Tells the kernel how `[offset, offset + length)` will be used (madvise). `dontNeed` drops clean file pages and
   * zeroes anonymous ones. Widened to whole pages; a refusal is ignored, advice is only that.
   */
  advise(advice: Advice, offset = 0, length = this.byteLength - offset): void {
    const [start, bytes] = this.#pages(offset, length);
    madvise(start, bytes, MADV[advice]);
  }

  /**
   * Maps the pages of `[offset, offset + length)` for reading, from the disk where need be, on another thread: later
   * reads meet no page fault while memory lasts. Where the kernel cannot (before Linux 5.14), reads fault as ever. The
   * range must stay mapped until the promise resolves.
   */
  async populate(offset = 0, length = this.byteLength - offset): Promise<void> {
    const [start, bytes] = this.#pages(offset, length);
    await new Promise<void>((resolve, reject) => {
      madvise.async(start, bytes, MADV_POPULATE_READ, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Start and length of the whole pages that a range touches. */
  #pages(offset: number, length: number): [bigint, number] {
    this.#check(offset, length);
    const start = this.address + BigInt(offset);
    const pageStart = start - (start % PAGE);
    return [pageStart, Number(start - pageStart) + length];
  }

  #check(offset: number, length: number): void {
    invariant(
      offset >= 0 && length >= 0 && offset + length <= this.byteLength,
      () => `range [${offset}, ${offset + length}) of ${this.byteLength} bytes`,
    );
  }
}

const PAGE = 4096n;

/** Anonymous memory with an end to its life. */
export class Allocation extends NativeMemory implements Disposable {
  #isFreed = false;

  /** Gives the memory back; a second call does nothing. */
  free(): void {
    if (this.#isFreed) return;
    this.#isFreed = true;
    munmap(this.address, Math.max(this.byteLength, 1));
  }

  [Symbol.dispose](): void {
    this.free();
  }
}

/**
 * Zeroed, page-aligned memory outside the JavaScript heap; pages cost memory only once touched.
 *
 * @throws ServingError RESOURCE_EXHAUSTED when the system refuses
 */
export function allocate(bytes: number): Allocation {
  const address = mmap(null, Math.max(bytes, 1), PROT.read | PROT.write, MAP.private | MAP.anonymous, -1, 0);
  if (address === MAP_FAILED) {
    throw new ServingError("RESOURCE_EXHAUSTED", `cannot allocate ${bytes} bytes: ${lastErrno()}`);
  }
  return new Allocation(address, bytes);
}

/** Two huge pages of x86 and of most arm64 kernels: less has none, wherever it begins. */
const HUGE_BYTES_MIN = 4 * 2 ** 20;

/**
 * Asks the kernel for huge pages under a view that is read at random: without them each read of a table much larger than the
 * TLB's reach costs a walk of the page tables as well, two of them in a virtual machine. Call it before the memory is
 * touched. Small views, and kernels that do not do it, stay as they are: advice is only that.
 *
 * @returns whether the kernel took the advice
 */
export function adviseHugePages(view: ArrayBufferView): boolean {
  if (MADV_HUGEPAGE === undefined || view.byteLength < HUGE_BYTES_MIN) return false;
  const start = addressOf(view);
  const firstPage = start + ((PAGE - (start % PAGE)) % PAGE); // what else lies on the view's first page is not ours
  const bytes = view.byteLength - Number(firstPage - start);
  return madvise(firstPage, bytes - (bytes % Number(PAGE)), MADV_HUGEPAGE) === 0;
}

/** Address of the first byte under a view; valid only while the view's buffer is reachable. */
export function addressOf(view: ArrayBufferView): bigint {
  return koffi.address(view);
}
