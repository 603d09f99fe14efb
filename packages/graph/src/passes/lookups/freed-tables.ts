import { eachInPieces, type Pieces } from "@shardserve/core";
import { type GraphNode, outputKey, refKey } from "../../ir/ir.js";
import type { Program } from "../../ir/program.js";
import { isRowGather, SPARSE_SEGMENT } from "./lookups.js";
import { Readers } from "../readers.js";
import { edgeKey, type RowComputation } from "./row-computation.js";

/** A gather of rows that are computed from tables. */
export interface GatheredRows {
  readonly gather: GraphNode;
  readonly rows: RowComputation;
}

/**
 * The candidates after which some of their tables are only looked up in, and none of what is computed of them is needed whole.
 *
 * @param matters  for a table that is worth it
 */
export function* freeingTables(
  candidates: readonly GatheredRows[],
  program: Program,
  matters: (table: GraphNode) => boolean,
): Pieces<readonly GatheredRows[]> {
  const kept = new Set(candidates);
  const byValue = new Map<string, GatheredRows[]>();
  const edges = new Map<GatheredRows, Map<string, string>>();
  /** How many candidates read on an edge rows only. */
  const readingRows = new Map<string, number>();
  yield* eachInPieces(candidates, (candidate) => {
    const { gather, rows } = candidate;
    const own = new Map([...rows.edges, [edgeKey(gather, 0), gather.inputs[0]!.node]]);
    edges.set(candidate, own);
    for (const edge of own.keys()) readingRows.set(edge, (readingRows.get(edge) ?? 0) + 1);
    for (const name of new Set(own.values())) {
      const sharing = byValue.get(name);
      if (sharing) sharing.push(candidate);
      else byValue.set(name, [candidate]);
    }
  });
  const readers = yield* Readers.reading(program);
  const whole = new Set<string>();
  const readsWhole = (reader: GraphNode, at: number): boolean =>
    !readingRows.get(edgeKey(reader, at)) && !(at === 0 && isLookup(program, reader));
  for (const name of byValue.keys()) {
    const value = { node: name, index: 0 };
    if (readers.isFetched(value)) whole.add(name);
    yield* eachInPieces(readers.of(value), (reader) => {
      if (reader.inputs.some((ref, at) => refKey(ref) === outputKey(name) && readsWhole(reader, at))) whole.add(name);
    });
    yield;
  }
  // A candidate that is given up reads its values whole, which may give up others.
  for (const name of whole) {
    yield* eachInPieces(byValue.get(name) ?? [], (candidate) => {
      const { computed, tables } = candidate.rows;
      const frees = !computed.has(name) && tables.some((table) => matters(table) && !whole.has(table.name));
      if (frees || !kept.delete(candidate)) return;
      for (const [edge, source] of edges.get(candidate)!) {
        const others = readingRows.get(edge)! - 1;
        readingRows.set(edge, others);
        if (others === 0) whole.add(source);
      }
    });
    yield;
  }
  return [...kept];
}

/** True for a node that reads rows of a variable, which is its first input. */
function isLookup(program: Program, node: GraphNode): boolean {
  const isOfVariable = program.graph.get(node.inputs[0]!.node)?.op === "Variable";
  return isOfVariable && (SPARSE_SEGMENT.test(node.op) || isRowGather(program, node));
}
