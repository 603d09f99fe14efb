import { type DType, scalar, tensor, type Tensor } from "@shardserve/tensor";
import { type GraphNode, refKey, type TensorRef } from "../../ir/ir.js";
import { shapeTensor } from "../../ir/shape-tensor.js";
import type { NewNodes } from "../new-nodes.js";

/** Of more rows than this a computation is not made anew for chosen ones. */
const STEPS_MAX = 128;

/** What ids are numbers of. */
export type IdDType = "int32" | "int64";

/** How the rows of a value come from rows of others. */
export type Rows = Leaf | RowOp | Part | Joined;

/** A table, or a constant with as many rows. */
interface Leaf {
  readonly kind: "leaf";
  readonly source: TensorRef | Tensor;
  readonly dtype: DType;
}

/** A node that takes the same rows of some inputs, by index. `shape` is that of all its rows. */
interface RowOp {
  readonly kind: "op";
  readonly node: GraphNode;
  readonly rows: ReadonlyMap<number, Rows>;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** `count` rows from row `start` on, of `ofCount`. */
interface Part {
  readonly kind: "part";
  readonly of: Rows;
  readonly start: number;
  readonly count: number;
  readonly ofCount: number;
}

/** Pieces behind one another. */
interface Joined {
  readonly kind: "joined";
  readonly node: GraphNode;
  readonly pieces: readonly Piece[];
  readonly rank: number;
  readonly dtype: DType;
}

export interface Piece {
  readonly rows: Rows;
  readonly count: number;
}

/**
 * True where few steps make chosen rows. Parts and pieces are asked for with ids of their own, so what is reached through several of them is
 * computed for each.
 */
export function takesFewSteps(of: Rows): boolean {
  const visited = new Map<Rows, Set<number>>();
  let [steps, idVectors] = [0, 1];
  const visit = (rows: Rows, ids: number): void => {
    const known = visited.get(rows) ?? new Set();
    if (known.has(ids) || steps > STEPS_MAX) return;
    visited.set(rows, known.add(ids));
    steps++;
    if (rows.kind === "op") for (const input of rows.rows.values()) visit(input, ids);
    else if (rows.kind === "part") visit(rows.of, idVectors++);
    else if (rows.kind === "joined") for (const piece of rows.pieces) visit(piece.rows, idVectors++);
  };
  visit(of, 0);
  return steps <= STEPS_MAX;
}

/** Adds nodes that compute chosen rows. An id that the whole value has no row for is refused by one of the gathers. */
export class RowEmission {
  readonly #dtype: IdDType;
  readonly #nodes: NewNodes;
  readonly #emitted = new Map<Rows, Map<string, TensorRef>>();

  constructor(dtype: IdDType, nodes: NewNodes) {
    this.#dtype = dtype;
    this.#nodes = nodes;
  }

  /** @param isWithin  no id is below 0 */
  rows(of: Rows, ids: TensorRef, isWithin: boolean): TensorRef {
    const byIds = this.#emitted.get(of) ?? new Map<string, TensorRef>();
    this.#emitted.set(of, byIds);
    const known = byIds.get(refKey(ids));
    if (known) return known;
    const value = this.#emit(of, ids, isWithin);
    byIds.set(refKey(ids), value);
    return value;
  }

  #emit(of: Rows, ids: TensorRef, isWithin: boolean): TensorRef {
    switch (of.kind) {
      case "leaf":
        return this.#gather(of, ids);
      case "op":
        return this.#op(of, ids, isWithin);
      case "part":
        return this.rows(of.of, this.#partIds(of, ids, isWithin), isWithin);
      case "joined":
        return this.#joined(of, ids);
    }
  }

  #gather({ source, dtype }: Leaf, ids: TensorRef): TensorRef {
    const params = "node" in source ? source : this.#nodes.constant("padding", source);
    const name = `${params.node}/rows`;
    return this.#nodes.op(name, "Gather", [params, ids], { Tparams: dtype, Tindices: this.#dtype });
  }

  #op({ node, rows, shape, dtype }: RowOp, ids: TensorRef, isWithin: boolean): TensorRef {
    const inputs = node.inputs.map((ref, at) => {
      const input = rows.get(at);
      return input ? this.rows(input, ids, isWithin) : ref;
    });
    if (node.op !== "Reshape") return this.#nodes.add({ ...node, name: `${node.name}/rows`, inputs });
    const chosen = this.#nodes.constant(`${node.name}/row_shape`, shapeTensor([-1, ...shape.slice(1)], "int32"));
    return this.#nodes.op(`${node.name}/rows`, "Reshape", [inputs[0]!, chosen], { T: dtype, Tshape: "int32" });
  }

  /** Numbers in the whole of what are numbers in the part; those outside of the part stay outside of the whole. */
  #partIds({ start, count, ofCount }: Part, ids: TensorRef, isWithin: boolean): TensorRef {
    let moved = start === 0 ? ids : this.#math("AddV2", ids, start);
    if (start !== 0 && !isWithin) moved = this.#choose(this.#math("Less", ids, 0), ids, moved);
    if (start + count === ofCount) return moved;
    return this.#choose(this.#math("GreaterEqual", ids, count), this.#constant(ofCount), moved);
  }

  /** Every piece is asked for every id, moved to its nearest row; only the ends let an id be outside. */
  #joined({ node, pieces, rank, dtype }: Joined, ids: TensorRef): TensorRef {
    let end = pieces.reduce((sum, { count }) => sum + count, 0);
    let result: TensorRef | undefined;
    for (const { rows, count } of pieces.toReversed()) {
      const start = end - count;
      let local = start === 0 ? ids : this.#math("Maximum", this.#math("Sub", ids, start), 0);
      if (result) local = this.#math("Minimum", local, count - 1);
      const chosen = this.rows(rows, local, start !== 0);
      if (result) {
        const isBefore = this.#column(node, this.#math("Less", ids, end), rank);
        result = this.#nodes.op(`${node.name}/rows`, "SelectV2", [isBefore, chosen, result], { T: dtype });
      } else result = chosen;
      end = start;
    }
    return result!;
  }

  /** A vector [n] as [n, 1, ...]. */
  #column({ name }: GraphNode, vector: TensorRef, rank: number): TensorRef {
    if (rank === 1) return vector;
    const shape = tensor(
      "int32",
      [rank],
      Int32Array.from({ length: rank }, (_, i) => (i === 0 ? -1 : 1)),
    );
    const inputs = [vector, this.#nodes.constant(`${name}/column_shape`, shape)];
    return this.#nodes.op(`${name}/column`, "Reshape", inputs, { T: "bool", Tshape: "int32" });
  }

  /** Arithmetic and comparisons. */
  #math(op: string, ids: TensorRef, operand: number): TensorRef {
    return this.#nodes.op(`${ids.node}/${op}`, op, [ids, this.#constant(operand)], { T: this.#dtype });
  }

  #choose(condition: TensorRef, yes: TensorRef, no: TensorRef): TensorRef {
    return this.#nodes.op(`${no.node}/chosen`, "SelectV2", [condition, yes, no], { T: this.#dtype });
  }

  #constant(value: number): TensorRef {
    return this.#nodes.constant("row", scalar(this.#dtype, value));
  }
}
