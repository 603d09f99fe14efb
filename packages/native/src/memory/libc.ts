import koffi, { type LibraryHandle } from "koffi";

/**
 * Stack of calls on other threads: ONNX Runtime's kernels and graph passes recurse, koffi's default of 128 KiB is too
 * tight for them. Settable only before the first library is loaded, which is the one below.
 */
const ASYNC_STACK_BYTES = 2 * 2 ** 20;
koffi.config({ ...koffi.config(), async_stack_size: ASYNC_STACK_BYTES });

/**
 * The few libc calls that Node lacks. Kept in one module-level constant: the collector unloads a library whose koffi
 * handle becomes unreachable, under whoever still calls it.
 */
const libc = koffi.load(process.platform === "darwin" ? "libSystem.B.dylib" : "libc.so.6");

/** mmap(2): address as a bigint; -1 as an unsigned 64-bit number on failure, then see {@link lastErrno}. */
export const mmap = libc.func("mmap", "void *", ["void *", "size_t", "int", "int", "int", "int64_t"]) as (
  address: bigint | null,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
) => bigint;
export const munmap = libc.func("munmap", "int", ["void *", "size_t"]) as (address: bigint, length: number) => number;
export const madvise = libc.func("madvise", "int", ["void *", "size_t", "int"]) as unknown as {
  (address: bigint, length: number, advice: number): number;
  readonly async: (
    address: bigint,
    length: number,
    advice: number,
    callback: (error: Error | null, result: number) => void,
  ) => void;
};
export const memcpy = libc.func("memcpy", "void *", ["void *", "void *", "size_t"]) as (
  to: bigint,
  from: bigint,
  length: number,
) => bigint;

export const MAP_FAILED = 0xffff_ffff_ffff_ffffn;
export const PROT = { none: 0, read: 1, write: 2 } as const;
const isDarwin = process.platform === "darwin";
export const MAP = {
  shared: 0x01,
  private: 0x02,
  fixed: 0x10,
  anonymous: isDarwin ? 0x1000 : 0x20,
  noReserve: isDarwin ? 0x40 : 0x4000,
} as const;
/** Values shared by Linux and macOS. */
export const MADV = { normal: 0, random: 1, sequential: 2, willNeed: 3, dontNeed: 4 } as const;
/** MADV_POPULATE_READ, Linux 5.14 and later; older kernels refuse it. */
export const MADV_POPULATE_READ = 22;
/** MADV_HUGEPAGE; undefined where there is none. */
export const MADV_HUGEPAGE = process.platform === "linux" ? 14 : undefined;
/** What madvise is told of a range. */
export type Advice = keyof typeof MADV;

/** "ENOMEM (12)" of the last failed libc call on this thread. */
export function lastErrno(): string {
  const number = koffi.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === number)?.[0];
  return name === undefined ? String(number) : `${name} (${number})`;
}

const setenv = libc.func("setenv", "int", ["const char *", "const char *", "int"]) as (
  name: string,
  value: string,
  overwrite: number,
) => number;

/** Sets an environment variable for native libraries, unless the operator has: they read it when they are loaded. */
export function setDefaultEnvironment(name: string, value: string): void {
  setenv(name, value, 0);
}

const setpriority = libc.func("setpriority", "int", ["int", "uint32_t", "int"]) as (
  which: number,
  who: number,
  nice: number,
) => number;

/** Makes the calling thread nicer, 0 to 19. Only Linux gives threads their own value: elsewhere nothing happens. */
export function lowerThreadPriority(nice: number): void {
  if (process.platform === "linux") setpriority(PRIO_PROCESS, 0, nice);
}

const PRIO_PROCESS = 0;

/**
 * Gives the pages of freed memory back to the system, on another thread. glibc keeps what was freed between two blocks that are in use:
 * loading a model with libraries leaves up to twice its weights like that. Elsewhere nothing happens.
 */
export async function returnFreedMemory(): Promise<void> {
  if (!mallocTrim) return;
  await new Promise<void>((resolve, reject) => mallocTrim.async(0, (error) => (error ? reject(error) : resolve())));
}

const mallocTrim = mallocTrimOf();

function mallocTrimOf():
  | { readonly async: (pad: number, callback: (error: Error | null) => void) => void }
  | undefined {
  try {
    return libc.func("malloc_trim", "int", ["size_t"]) as never;
  } catch {
    return undefined; // only glibc has it
  }
}

/** Address of a pure function of libc: for libraries that insist on a callback where there is nothing to do. */
export const harmlessCallback = libc.symbol("abs", "void") as bigint;

/** RTLD_LAZY | RTLD_NODELETE */
const DLOPEN_FOR_EVER = isDarwin ? 0x81 : 0x1001;

/**
 * Keeps a loaded library in memory until the process has ended. koffi unloads libraries when Node shuts down, under the
 * threads that they started: TensorFlow's crash the process then.
 */
export function neverUnload(path: string): void {
  dlopenOf(libc)(path, DLOPEN_FOR_EVER);
}

/** dlopen moved into libc with glibc 2.34. */
function dlopenOf(library: LibraryHandle): (path: string, flags: number) => bigint | null {
  try {
    return library.func("dlopen", "void *", ["const char *", "int"]) as never;
  } catch (error) {
    if (library !== libc) throw error;
    return dlopenOf(koffi.load("libdl.so.2"));
  }
}
