import { eachInPieces, type Pieces } from "@shardserve/core";
import { DTYPES, elementCount, scalar, tensor } from "@shardserve/tensor";
import type { Inference } from "../../infer/inference.js";
import { Attrs } from "../../ir/attrs.js";
import { constantOf, type GraphNode, type TensorRef } from "../../ir/ir.js";
import { nodeOf, type Program, pruning, rewriting } from "../../ir/program.js";
import { shapeTensor } from "../../ir/shape-tensor.js";
import { freeingTables, type GatheredRows } from "./freed-tables.js";
import { isRowGather } from "./lookups.js";
import { NewNodes } from "../new-nodes.js";
import { RowComputation } from "./row-computation.js";
import type { IdDType } from "./row-emission.js";

/** Smaller tables, in bytes, stay as they are: nobody shards them, and an engine computes them once, when it loads. */
const TABLE_BYTES_MIN = 64 * 1024;
const INT32_MAX = 2 ** 31 - 1;

/**
 * Makes of a table only the rows that are gathered: gather(f(table), ids) becomes f(gather(table, ids)), where f makes each row of the
 * table's own (norms, scales, casts, int8 with scales), puts rows before or behind them (a row of zeros for padding), or leaves some out.
 * So the table is looked up in, instead of read whole; and a request pays for its rows only. Where anything else needs the whole table,
 * or what is computed of it, all stays as it is.
 */
export function* gatherRowsFirst(program: Program, inference: Inference): Pieces<Program> {
  const found: GatheredRows[] = [];
  yield* eachInPieces(program.graph.values(), (gather) => {
    const candidate = candidateOf(gather, program, inference);
    if (candidate) found.push(candidate);
  });
  if (found.length === 0) return program;
  const freeing = yield* freeingTables(found, program, isLarge);
  if (freeing.length === 0) return program;
  const nodes = new NewNodes(program.graph);
  yield* eachInPieces(freeing, (candidate) => replaceGather(candidate, nodes, inference));
  return yield* pruning(yield* rewriting(program, new Map(), nodes.nodes));
}

function candidateOf(gather: GraphNode, program: Program, inference: Inference): GatheredRows | undefined {
  if (!/^Gather(V2)?$/.test(gather.op) || !isRowGather(program, gather)) return undefined;
  const [params, ids] = gather.inputs as [TensorRef, TensorRef];
  const idsDType = inference.info(ids)?.dtype;
  // Rows by constant ids are computed once, wherever they are.
  if (constantOf(program.graph.get(ids.node)) || (idsDType !== "int32" && idsDType !== "int64")) return undefined;
  if (nodeOf(program.graph, params.node).op === "Variable") return undefined;
  const rows = RowComputation.of(params, program, inference);
  if (!rows?.tables.some(isLarge) || (idsDType === "int32" && rows.rowsMax > INT32_MAX)) return undefined;
  return { gather, rows };
}

function isLarge({ attrs }: GraphNode): boolean {
  return elementCount(attrs.shape("shape")!) * DTYPES[attrs.dtype("dtype")].bytes >= TABLE_BYTES_MIN;
}

function replaceGather({ gather, rows }: GatheredRows, nodes: NewNodes, inference: Inference): void {
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
