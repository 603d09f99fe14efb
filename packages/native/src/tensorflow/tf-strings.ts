import { invariant } from "@shardserve/core";
import { StringColumn } from "@shardserve/tensor";
import { memcpy } from "../memory/libc.js";
import { addressOf, NativeMemory } from "../memory/native-memory.js";
import type { TfRuntime } from "./tf-runtime.js";

/**
 * TF_TString, the element of string tensors: 24 bytes, little-endian (tensorflow/c/tf_tstring.h, ctstring_internal.h; stable
 * since 2.4). The two low bits of the first byte say which kind it is:
 * 0 small: the size above them, then up to 22 bytes; 1 large: u64 size << 2, u64 capacity, pointer; 2 offset: u32 size << 2,
 * u32 distance of the bytes from this struct, u32 count; 3 view: u64 size << 2, pointer.
 */
export const TSTRING_BYTES = 24;
const SMALL_BYTES_MAX = 22;
const KIND = { small: 0, large: 1, offset: 2, view: 3 } as const;

/**
 * Writes the elements of a string tensor. Short strings stand in the element itself; each longer one costs a call, because
 * its memory must be TensorFlow's: an op may keep the string.
 *
 * @returns addresses of the elements that have memory of their own: TF_StringDealloc is the caller's
 */
export function writeStrings(runtime: TfRuntime, address: bigint | null, column: StringColumn): bigint[] {
  const large: bigint[] = [];
  if (column.length === 0) return large;
  invariant(address !== null, "a tensor with elements has memory");
  const cells = new Uint8Array(column.length * TSTRING_BYTES);
  const { bytes, offsets } = column;
  for (let i = 0; i < column.length; i++) {
    const start = offsets[i]!;
    const length = offsets[i + 1]! - start;
    if (length > SMALL_BYTES_MAX) continue; // zeros are an empty string, which TF_StringCopy replaces
    const at = i * TSTRING_BYTES;
    cells[at] = length << 2;
    for (let k = 0; k < length; k++) cells[at + 1 + k] = bytes[start + k]!;
  }
  memcpy(address, addressOf(cells), cells.length);
  let base: bigint | undefined;
  for (let i = 0; i < column.length; i++) {
    const start = offsets[i]!;
    const length = offsets[i + 1]! - start;
    if (length <= SMALL_BYTES_MAX) continue;
    base ??= addressOf(bytes);
    const element = address + BigInt(i * TSTRING_BYTES);
    runtime.library.functions.TF_StringCopy(element, base + BigInt(start), length);
    large.push(element);
  }
  return large;
}

/** Copies the elements of a string tensor. */
export function readStrings(address: bigint, count: number): StringColumn {
  const offsets = new Uint32Array(count + 1);
  if (count === 0) return new StringColumn(new Uint8Array(0), offsets);
  const cells = new NativeMemory(address, count * TSTRING_BYTES).bytes;
  const view = new DataView(cells.buffer, cells.byteOffset, cells.byteLength);
  let total = 0;
  for (let i = 0; i < count; i++) {
    total += sizeOf(view, i * TSTRING_BYTES);
    invariant(total < 2 ** 32, "a string tensor holds at most 4 GiB");
    offsets[i + 1] = total;
  }
  const bytes = new Uint8Array(total);
  let base: bigint | undefined;
  for (let i = 0; i < count; i++) {
    const at = i * TSTRING_BYTES;
    const start = offsets[i]!;
    const size = offsets[i + 1]! - start;
    if ((cells[at]! & 3) === KIND.small) {
      for (let k = 0; k < size; k++) bytes[start + k] = cells[at + 1 + k]!;
    } else if (size > 0) {
      base ??= addressOf(bytes);
      memcpy(base + BigInt(start), pointerOf(view, at, address), size);
    }
  }
  return new StringColumn(bytes, offsets);
}

function sizeOf(view: DataView, at: number): number {
  const kind = view.getUint8(at) & 3;
  if (kind === KIND.small) return view.getUint8(at) >>> 2;
  if (kind === KIND.offset) return view.getUint32(at, true) >>> 2;
  return Number(view.getBigUint64(at, true) >> 2n);
}

function pointerOf(view: DataView, at: number, address: bigint): bigint {
  switch (view.getUint8(at) & 3) {
    case KIND.large:
      return view.getBigUint64(at + 16, true);
    case KIND.view:
      return view.getBigUint64(at + 8, true);
    default:
      return address + BigInt(at) + BigInt(view.getUint32(at + 4, true));
  }
}
