/** Larger arrays get memory of their own: what one long-lived value may keep reachable stays a few KiB. */
const SMALL_BYTES_MAX = 1024;
const SLAB_BYTES = 16 * 1024;
/** No element needs more, and neither do vector loads that expect natural alignment. */
const ALIGNMENT_BYTES = 16;

let slab = new ArrayBuffer(0);
let used = 0;

interface ArrayType<A> {
  readonly BYTES_PER_ELEMENT: number;
  new (length: number): A;
  new (buffer: ArrayBuffer, byteOffset: number, length: number): A;
}

/**
 * A zeroed typed array. Small ones share a buffer, as Node's Buffers do: a request makes hundreds of a few elements each, and
 * a buffer of its own, which V8 gives an array once somebody asks for another view of it or for its address, costs ten times
 * as much. So `buffer` is not this array's alone: views must use `byteOffset`. Memory is never handed out twice.
 */
export function zeroedArray<A>(type: ArrayType<A>, length: number): A {
  const bytes = length * type.BYTES_PER_ELEMENT;
  if (!(bytes <= SMALL_BYTES_MAX)) return new type(length);
  if (used + bytes > slab.byteLength) {
    slab = new ArrayBuffer(SLAB_BYTES);
    used = 0;
  }
  const start = used;
  used += (bytes + ALIGNMENT_BYTES - 1) & -ALIGNMENT_BYTES;
  return new type(slab, start, length);
}
