/**
 * Puts a tensor together that is cut across its rows too (a table partitioned by columns, a grid). Rows are emitted in
 * bands: a band is a run of rows over which the set of slices does not change, so that every slice is read once, from
 * front to back.
 */
import { ServingError } from "@shardserve/core";
import { DTYPES, elementCount } from "@shardserve/tensor";
import type { BundleEntry, BundleSlice } from "./bundle-index.js";

/** Fills a buffer with a slice's next bytes. */
type Source = (into: Uint8Array) => Promise<void>;

const SLICES_SIDE_BY_SIDE_MAX = 1024;

/**
 * Chunks of whole rows of `entry`, at least one row each.
 *
 * @throws ServingError CHECKPOINT_INVALID when slices overlap, UNIMPLEMENTED when more than 1024 lie side by side
 */
export async function* mergeSlices(
  entry: BundleEntry,
  chunkBytes: number,
  open: (slice: BundleSlice) => Source,
): AsyncGenerator<Uint8Array> {
  const elementBytes = DTYPES[entry.dtype].bytes;
  const rowBytes = elementBytes * elementCount(entry.shape.slice(1));
  if (rowBytes === 0) return;
  const slices = entry.slices!.filter((slice) => slice.size > 0);
  const sources = new Map<BundleSlice, Source>();
  const edges = [...new Set(slices.flatMap((slice) => [slice.start[0]!, slice.start[0]! + slice.shape[0]!]))].sort(
    (a, b) => a - b,
  );
  let first = 0;
  let active: BundleSlice[] = [];
  for (let i = 0; i + 1 < edges.length; i++) {
    const [from, to] = [edges[i]!, edges[i + 1]!];
    active = active.filter((slice) => slice.start[0]! + slice.shape[0]! > from);
    for (; first < slices.length && slices[first]!.start[0]! === from; first++) active.push(slices[first]!);
    checkBand(entry, active);
    const rowsMax = Math.max(1, Math.floor(chunkBytes / rowBytes));
    for (let row = from; row < to; row += rowsMax) {
      const rows = Math.min(rowsMax, to - row);
      const out = new Uint8Array(rows * rowBytes);
      for (const slice of active) {
        if (!sources.has(slice)) sources.set(slice, open(slice));
        const piece = new Uint8Array(rows * elementBytes * elementCount(slice.shape.slice(1)));
        await sources.get(slice)!(piece);
        placeRows(out, piece, rows, entry.shape, slice, elementBytes);
      }
      yield out;
    }
  }
}

function checkBand(entry: BundleEntry, active: readonly BundleSlice[]): void {
  if (active.length > SLICES_SIDE_BY_SIDE_MAX) {
    throw new ServingError(
      "UNIMPLEMENTED",
      `tensor "${entry.key}": ${active.length} slices lie side by side, ${SLICES_SIDE_BY_SIDE_MAX} are read`,
    );
  }
  const overlap = active.some((a, i) =>
    active
      .slice(i + 1)
      .some((b) =>
        a.start.every(
          (start, dim) => dim === 0 || (start < b.start[dim]! + b.shape[dim]! && b.start[dim]! < start + a.shape[dim]!),
        ),
      ),
  );
  const covered = active.reduce((sum, slice) => sum + elementCount(slice.shape.slice(1)), 0);
  if (overlap || covered !== elementCount(entry.shape.slice(1))) {
    throw new ServingError("CHECKPOINT_INVALID", `tensor "${entry.key}": its slices overlap or leave gaps`);
  }
}

/** Copies a slice's part of `rows` rows to its place. */
export function placeRows(
  out: Uint8Array,
  piece: Uint8Array,
  rows: number,
  shape: readonly number[],
  slice: BundleSlice,
  elementBytes: number,
): void {
  // Trailing dimensions that the slice holds whole are one run of bytes with the last one that it does not.
  let runDim = shape.length - 1;
  while (runDim > 1 && slice.shape[runDim] === shape[runDim]) runDim--;
  const unit = elementBytes * elementCount(shape.slice(runDim + 1));
  const runBytes = unit * slice.shape[runDim]!;
  const counts = [rows, ...slice.shape.slice(1, runDim)];
  const strides = counts.map((_, dim) => elementBytes * elementCount(shape.slice(dim + 1)));
  const base =
    unit * slice.start[runDim]! +
    counts.reduce((sum, _, dim) => sum + (dim === 0 ? 0 : slice.start[dim]! * strides[dim]!), 0);
  const index = counts.map(() => 0);
  for (let read = 0; read < piece.length; read += runBytes) {
    let at = base;
    for (let dim = 0; dim < counts.length; dim++) at += index[dim]! * strides[dim]!;
    out.set(piece.subarray(read, read + runBytes), at);
    for (let dim = counts.length - 1; dim >= 0 && ++index[dim]! === counts[dim]; dim--) index[dim] = 0;
  }
}
