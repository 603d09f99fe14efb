import { elementCount, isNumeric, newData, tensor } from "@shardserve/tensor";
import type { Inference } from "../../infer/inference.js";
import { constantOf, type GraphNode, refKey, type TensorRef } from "../../ir/ir.js";
import { nodeOf, type Program } from "../../ir/program.js";
import { numbersAt } from "../matching.js";
import type { NewNodes } from "../new-nodes.js";
import { type IdDType, RowEmission, type Piece, type Rows, takesFewSteps } from "./row-emission.js";
import { rowInputs } from "./row-wise.js";

/** Larger computations are not followed. */
const NODES_MAX = 64;
/** Every part of a table that is put together of parts is looked up in for every id. */
const PIECES_MAX = 8;
/** Zeros that padding may add as a constant. */
const PADDING_ELEMENTS_MAX = 4096;

/** The key of the edge into input `at` of a node. */
export function edgeKey({ name }: GraphNode, at: number): string {
  return `${at}:${name}`;
}

/** How the rows of a value are computed from the rows of tables. */
export class RowComputation {
  /** The `Variable` nodes at its ends. */
  readonly tables: GraphNode[] = [];
  /** Names of the nodes between the tables and the value. */
  readonly computed = new Set<string>();
  /** The edges on which rows go: {@link edgeKey}, and the name of the node that they come from. */
  readonly edges = new Map<string, string>();
  /** The most rows that a value on the way has. */
  rowsMax = 0;
  readonly #program: Program;
  readonly #inference: Inference;
  readonly #known = new Map<string, Rows | undefined>();
  #root!: Rows;

  private constructor(program: Program, inference: Inference) {
    this.#program = program;
    this.#inference = inference;
  }

  /** @returns undefined where a row of the value depends on more than one row of a table, or on none, or takes many steps */
  static of(value: TensorRef, program: Program, inference: Inference): RowComputation | undefined {
    const computation = new RowComputation(program, inference);
    const root = computation.#rowsOf(value);
    if (!root || computation.tables.length === 0 || !takesFewSteps(root)) return undefined;
    computation.#root = root;
    return computation;
  }

  /** Adds the nodes that compute the rows with these ids, a vector. @returns the rows [ids, ...] */
  emit(ids: TensorRef, dtype: IdDType, nodes: NewNodes): TensorRef {
    return new RowEmission(dtype, nodes).rows(this.#root, ids, false);
  }

  #rowsOf(value: TensorRef): Rows | undefined {
    const key = refKey(value);
    if (!this.#known.has(key)) {
      this.#known.set(key, undefined); // a cycle, of a loop of TF1, ends here
      if (this.#known.size <= NODES_MAX) this.#known.set(key, this.#follow(value));
    }
    return this.#known.get(key);
  }

  #follow(value: TensorRef): Rows | undefined {
    const node = nodeOf(this.#program.graph, value.node);
    const info = this.#inference.info(value);
    // A first dimension of 1 may be broadcast to any number of rows.
    if (value.index !== 0 || !info?.shape || info.shape.includes(-1) || !(info.shape[0]! > 1)) return undefined;
    if (!isNumeric(info.dtype)) return undefined;
    this.rowsMax = Math.max(this.rowsMax, info.shape[0]!);
    if (node.op === "Const") return { kind: "leaf", source: value, dtype: info.dtype };
    if (node.op === "Variable") {
      this.tables.push(node);
      return { kind: "leaf", source: value, dtype: info.dtype };
    }
    if (node.controls.length > 0) return undefined;
    const found = this.#part(node, info.shape) ?? this.#joined(node, info.shape) ?? this.#byRow(node, info.shape);
    if (found) this.computed.add(node.name);
    return found;
  }

  #byRow(node: GraphNode, shape: readonly number[]): Rows | undefined {
    const rows = new Map<number, Rows>();
    for (const at of rowInputs(node, shape[0]!, this.#program, this.#inference) ?? []) {
      const input = this.#input(node, at);
      if (!input) return undefined;
      rows.set(at, input);
    }
    return rows.size > 0
      ? { kind: "op", node, rows, shape, dtype: this.#inference.first(node.name)!.dtype }
      : undefined;
  }

  /** x[start:end] and tf.slice of whole rows. */
  #part(node: GraphNode, shape: readonly number[]): Rows | undefined {
    if (node.op !== "StridedSlice" && node.op !== "Slice") return undefined;
    const whole = this.#inference.info(node.inputs[0]!)?.shape;
    const first = this.#inference.value(node.inputs[1]!)?.values[0];
    if (!whole || whole.slice(1).join() !== shape.slice(1).join() || whole[0] === shape[0]) return undefined;
    const isStrided = node.op === "StridedSlice";
    const masks = ["shrink_axis_mask", "new_axis_mask", "ellipsis_mask"];
    if (isStrided && masks.some((mask) => node.attrs.int(mask) !== 0)) return undefined;
    if (isStrided && numbersAt(node, 3, this.#program)?.some((stride) => stride !== 1) !== false) return undefined;
    const isOpen = isStrided && (node.attrs.int("begin_mask") & 1) === 1;
    const start = isOpen ? 0 : first;
    const of = start === undefined ? undefined : this.#input(node, 0);
    if (!of) return undefined;
    const from = start! < 0 ? start! + whole[0]! : start!;
    return from < 0 ? undefined : { kind: "part", of, start: from, count: shape[0]!, ofCount: whole[0]! };
  }

  /** Tables behind one another, and rows of zeros before or behind them. */
  #joined(node: GraphNode, shape: readonly number[]): Rows | undefined {
    const pieces = node.op === "Pad" ? this.#padded(node, shape) : this.#concatenated(node);
    if (!pieces || pieces.length > PIECES_MAX) return undefined;
    return { kind: "joined", node, pieces, rank: shape.length, dtype: this.#inference.first(node.name)!.dtype };
  }

  #concatenated(node: GraphNode): readonly Piece[] | undefined {
    const count = node.inputs.length - 1;
    if (node.op !== "ConcatV2" || numbersAt(node, count, this.#program)?.[0] !== 0) return undefined;
    const pieces: Piece[] = [];
    for (let at = 0; at < count; at++) {
      const value = node.inputs[at]!;
      const size = this.#inference.info(value)?.shape?.[0];
      if (size === 0) continue;
      const rows = size === 1 ? this.#single(value) : this.#input(node, at);
      if (size === undefined || !rows) return undefined;
      pieces.push({ rows, count: size });
    }
    return pieces.length > 1 ? pieces : undefined;
  }

  /** A constant of one row. */
  #single(value: TensorRef): Rows | undefined {
    const { dtype } = this.#inference.info(value)!;
    const isConstant = constantOf(this.#program.graph.get(value.node)) !== undefined;
    return isConstant ? { kind: "leaf", source: value, dtype } : undefined;
  }

  #padded(node: GraphNode, shape: readonly number[]): readonly Piece[] | undefined {
    const paddings = numbersAt(node, 1, this.#program);
    const { dtype } = this.#inference.first(node.name)!;
    if (!paddings || paddings.slice(2).some((padding) => padding !== 0) || !isNumeric(dtype)) return undefined;
    const [before, after] = paddings as [number, number];
    const rows = this.#input(node, 0);
    const rowElements = elementCount(shape.slice(1));
    if (!rows || (before + after) * rowElements > PADDING_ELEMENTS_MAX) return undefined;
    const zeros = (count: number): Piece => {
      const source = tensor(dtype, [count, ...shape.slice(1)], newData(dtype, count * rowElements));
      return { rows: { kind: "leaf", source, dtype }, count };
    };
    const all = [zeros(before), { rows, count: shape[0]! - before - after }, zeros(after)];
    return all.filter(({ count }) => count > 0);
  }

  #input(node: GraphNode, at: number): Rows | undefined {
    const rows = this.#rowsOf(node.inputs[at]!);
    if (rows) this.edges.set(edgeKey(node, at), node.inputs[at]!.node);
    return rows;
  }
}
