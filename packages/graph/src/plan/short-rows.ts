import type { Pieces } from "@shardserve/core";
import { elementCount } from "@shardserve/tensor";
import { nodeOf, type Program } from "../ir/program.js";
import { type FoundLookup, SPARSE_SEGMENT } from "../passes/lookups/lookups.js";
import { Readers } from "../passes/readers.js";

/** Adding up a row of this many elements takes less time than the host took to find its id. */
const ROW_ELEMENTS_MAX = 64;
/** The host keeps a copy of the table: at most 8 MiB of float32. */
const TABLE_ELEMENTS_MAX = 2 * 1024 * 1024;

export interface ShortRows {
  readonly lookups: ReadonlySet<FoundLookup>;
  /** The gathers, and what pools their rows. */
  readonly nodes: ReadonlySet<string>;
}

/**
 * Lookups of short rows of small tables that are pooled at once. The columns of an Estimator are like that, dozens to a model.
 * On the host each is two kernels of a microsecond; cut out, each would bring a lookup, five more values to feed to the engine
 * and some twenty nodes there.
 *
 * @param isHosts whether the ids of a lookup are work of the host in any case
 */
export function* findShortRows(
  program: Program,
  lookups: readonly FoundLookup[],
  isHosts: (lookup: FoundLookup) => boolean,
): Pieces<ShortRows> {
  const readers = yield* Readers.reading(program);
  const short = new Map<FoundLookup, readonly string[]>();
  for (const lookup of lookups) {
    const nodes = shortRowsOf(program, lookup, readers);
    if (nodes && isHosts(lookup)) short.set(lookup, nodes);
  }
  // A table that has other lookups too is cut out for all of them.
  const others = new Set(lookups.filter((lookup) => !short.has(lookup)).map(({ variable }) => variable));
  const own = [...short].filter(([{ variable }]) => !others.has(variable));
  return { lookups: new Set(own.map(([lookup]) => lookup)), nodes: new Set(own.flatMap(([, nodes]) => nodes)) };
}

/** The gather and its SparseSegment ops; undefined for lookups that are not short, or used in other ways. */
function shortRowsOf(
  { graph }: Program,
  { gather, variable }: FoundLookup,
  readers: Readers,
): readonly string[] | undefined {
  const { attrs } = nodeOf(graph, variable);
  // The engine adds up narrower floats in float32, the host in their own: the sums would differ.
  if (!/^float(32|64)$/.test(attrs.dtype("dtype"))) return undefined;
  const shape = attrs.shape("shape")!;
  if (shape.length !== 2 || shape[1]! > ROW_ELEMENTS_MAX || elementCount(shape) > TABLE_ELEMENTS_MAX) return undefined;
  const rows = { node: gather.name, index: 0 };
  const sums = readers.of(rows);
  const isPooled = sums.every(({ op, inputs }) => SPARSE_SEGMENT.test(op) && inputs[0]!.node === gather.name);
  return isPooled && !readers.isFetched(rows) ? [gather.name, ...sums.map(({ name }) => name)] : undefined;
}
