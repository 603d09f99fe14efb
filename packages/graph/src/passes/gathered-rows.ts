import { type Pieces } from "@shardserve/core";
import { DTYPES, elementCount, scalar, tensor } from "@shardserve/tensor";
import type { Inference } from "../infer/inference.js";
import { Attrs } from "../ir/attrs.js";
import { constantOf, type GraphNode, outputKey, refKey, type TensorRef } from "../ir/ir.js";
import { nodeOf, type Program, pruning, rewriting } from "../ir/program.js";
import { shapeTensor } from "../ir/shape-tensor.js";
import { isRowGather, SPARSE_SEGMENT } from "./lookups.js";
import { NewNodes } from "./new-nodes.js";
import { Readers } from "./readers.js";
import { edgeKey, RowComputation } from "./row-computation.js";
import type { IdDType } from "./row-emission.js";

/** Smaller tables, in bytes, stay as they are: nobody shards them, and an engine computes them once, when it loads. */
const TABLE_BYTES_MIN = 64 * 1024;

/** A gather of rows that are computed from tables. */
interface Candidate {
  readonly gather: GraphNode;
  readonly rows: RowComputation;
}

/**
 * Makes of a table only the rows that are gathered: gather(f(table), ids) becomes f(gather(table, ids)), where f makes each row of the
 * table's own (norms, scales, casts, int8 with scales), puts rows before or behind them (a row of zeros for padding), or leaves some out.
 * So the table is looked up in, instead of read whole; and a request pays for its rows only. Where anything else needs the whole table,
 * or what is computed of it, all stays as it is.
 */
export function* gatherRowsFirst(program: Program, inference: Inference): Pieces<Program> {
  const found: Candidate[] = [];
  for (const gather of program.graph.values()) {
    const candidate = candidateOf(gather, program, inference);
    if (candidate) found.push(candidate);
  }
  if (found.length === 0) return program;
  const readers = yield* Readers.reading(program);
  const freeing = freeingTables(found, program, readers);
  if (freeing.length === 0) return program;
  const nodes = new NewNodes(program.graph);
  for (const candidate of freeing) replaceGather(candidate, nodes, inference);
  return yield* pruning(yield* rewriting(program, new Map(), nodes.nodes));
}

function candidateOf(gather: GraphNode, program: Program, inference: Inference): Candidate | undefined {
  if (!/^Gather(V2)?$/.test(gather.op) || !isRowGather(program, gather)) return undefined;
  const [params, ids] = gather.inputs as [TensorRef, TensorRef];
  // Rows by constant ids are computed once, wherever they are.
  if (constantOf(program.graph.get(ids.node)) || !/^int(32|64)$/.test(inference.info(ids)?.dtype ?? ""))
    return undefined;
  if (nodeOf(program.graph, params.node).op === "Variable") return undefined;
  const rows = RowComputation.of(params, program, inference);
  return rows?.tables.some(isLarge) ? { gather, rows } : undefined;
}

function isLarge({ attrs }: GraphNode): boolean {
  return elementCount(attrs.shape("shape")!) * DTYPES[attrs.dtype("dtype")].bytes >= TABLE_BYTES_MIN;
}

/** The candidates after which some large table is only looked up in, and none of what is computed of it is needed whole. */
function freeingTables(found: readonly Candidate[], program: Program, readers: Readers): readonly Candidate[] {
  for (let candidates = found; ; ) {
    const computing = new Set(candidates.flatMap(({ rows }) => [...rows.edges]));
    const gathers = new Set(candidates.map(({ gather }) => gather.name));
    const isByRow = (reader: GraphNode, at: number): boolean =>
      computing.has(edgeKey(reader, at)) || (at === 0 && (gathers.has(reader.name) || isLookup(program, reader)));
    const isFree = (name: string): boolean => {
      const value = { node: name, index: 0 };
      return (
        !readers.isFetched(value) &&
        readers
          .of(value)
          .every((reader) => reader.inputs.every((ref, at) => refKey(ref) !== outputKey(name) || isByRow(reader, at)))
      );
    };
    const kept = candidates.filter(
      ({ rows }) =>
        [...rows.computed].every(isFree) && rows.tables.some((table) => isLarge(table) && isFree(table.name)),
    );
    if (kept.length === candidates.length) return kept;
    candidates = kept;
  }
}

/** True for a node that reads rows of a variable, which is its first input. */
function isLookup(program: Program, node: GraphNode): boolean {
  const isOfVariable = program.graph.get(node.inputs[0]!.node)?.op === "Variable";
  return isOfVariable && (SPARSE_SEGMENT.test(node.op) || isRowGather(program, node));
}

function replaceGather({ gather, rows }: Candidate, nodes: NewNodes, inference: Inference): void {
  const { name, controls } = gather;
  const [params, ids] = gather.inputs as [TensorRef, TensorRef];
  const { dtype, shape: rowsShape } = inference.info(params)!;
  const { dtype: idsDType, shape: idsShape } = inference.info(ids)!;
  const isFlat = idsShape?.length === 1 && controls.length === 0;
  const flatShape = nodes.constant(`${name}/flat`, tensor("int32", [1], Int32Array.of(-1)));
  const flat = new Attrs("Reshape", { T: idsDType, Tshape: "int32" });
  // The ids wait for what the gather waited for.
  const flatIds = isFlat
    ? ids
    : nodes.add({ name: `${name}/ids`, op: "Reshape", inputs: [ids, flatShape], controls, attrs: flat });
  const value = rows.emit(flatIds, idsDType as IdDType, nodes);
  if (isFlat) {
    nodes.replaceByOp(name, "Identity", [value], { T: dtype });
    return;
  }
  const rowShape = nodes.constant(`${name}/row_shape`, shapeTensor(rowsShape!.slice(1), "int32"));
  const axis = nodes.constant(`${name}/axis`, scalar("int32", 0));
  const outer = nodes.op(`${name}/ids_shape`, "Shape", [ids], { T: idsDType, out_type: "int32" });
  const attrs = { T: "int32", N: 2, Tidx: "int32" } as const;
  const shape = nodes.op(`${name}/shape`, "ConcatV2", [outer, rowShape, axis], attrs);
  nodes.replaceByOp(name, "Reshape", [value, shape], { T: dtype, Tshape: "int32" });
}
