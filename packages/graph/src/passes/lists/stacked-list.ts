import { type DType, strings, tensor, toNumbers } from "@shardserve/tensor";
import type { AttrValue, Shape } from "../../ir/attrs.js";
import { constantOf, type Graph, type GraphNode, type TensorRef } from "../../ir/ir.js";
import { nodeOf } from "../../ir/program.js";
import { LENGTHS } from "./list-ops.js";
import type { NewNodes } from "../new-nodes.js";
import { behindIdentity } from "../control/regions.js";

/** A list that a loop filled, as a tensor of the elements that its turns set. */
export interface StackedElements {
  /** [turns, ...element] */
  readonly stacked: TensorRef;
  readonly dtype: DType;
  /** Number of elements of the list, a scalar. */
  readonly length: TensorRef;
  /** Number of turns, a scalar, where turn i set element i; undefined where every turn set the only element. */
  readonly turns: TensorRef | undefined;
  /** Whether all elements have one shape: then the first one that is set tells what the zeros of the others look like. */
  readonly isAlike: boolean;
}

/** What came after a filled list, working on its stacked elements instead. */
export class StackedList {
  readonly #graph: Graph;
  readonly #nodes: NewNodes;
  readonly #list: StackedElements;

  /** @param nodes  takes what has to be added to `graph` */
  constructor(graph: Graph, nodes: NewNodes, list: StackedElements) {
    this.#graph = graph;
    this.#nodes = nodes;
    this.#list = list;
  }

  /** The value in the place of the first output of a node that reads the list, or asks for its length. */
  inPlaceOf(node: GraphNode): TensorRef {
    const { length, turns } = this.#list;
    if (LENGTHS.has(node.op)) return length;
    if (turns === undefined) return this.#last(node);
    const shape = this.#elementShape(node);
    const isStack = node.op === "TensorListStack";
    return isStack ? this.#padded(node.name, turns, shape) : this.#picked(node, turns, shape);
  }

  /** The shape of an element as far as the graph states it. */
  #elementShape({ op, attrs, inputs }: GraphNode): Shape {
    if (op === "TensorArrayGatherV3") return attrs.shape("element_shape");
    const value = constantOf(nodeOf(this.#graph, behindIdentity(this.#graph, inputs[1]!).node));
    return value?.shape.length === 1 ? toNumbers(value) : undefined;
  }

  /** The list's only element, as the last turn set it; an error where there was no turn. */
  #last({ name, op, inputs }: GraphNode): TensorRef {
    const { stacked, dtype } = this.#list;
    const zero = this.#ints(`${name}/axis`, [0], []);
    const [start, one] = [this.#ints(`${name}/start`, [0], [1]), this.#ints(`${name}/one`, [1], [1])];
    const dims = this.#node(`${name}/shape`, "Shape", [stacked], { T: dtype, out_type: "int32" });
    const turns = this.#node(`${name}/turns`, "Slice", [dims, start, one], { T: "int32", Index: "int32" });
    const index = this.#node(`${name}/index`, "Sub", [turns, one], { T: "int32" });
    const last = this.#gathered(`${name}/last`, dtype, stacked, index, zero);
    return op === "TensorListStack" ? last : this.#gathered(`${name}/picked`, dtype, last, inputs[1]!, zero);
  }

  /** Elements of a TensorArray by index. What no turn has set is zeros where the element's shape is known, else an error. */
  #picked({ name, inputs }: GraphNode, turns: TensorRef, shape: Shape): TensorRef {
    const { stacked, dtype, length, isAlike } = this.#list;
    const zero = this.#ints(`${name}/axis`, [0], []);
    let indices = inputs[1]!;
    if (isAlike || isFull(shape)) {
      return this.#gathered(`${name}/picked`, dtype, this.#padded(name, turns, shape), indices, zero);
    }
    const checked = this.#checkedLength(name, turns, zero);
    const check = this.#node(`${name}/check`, "Sub", [checked, length], { T: "int32" });
    indices = this.#node(`${name}/indices`, "AddV2", [indices, check], { T: "int32" });
    return this.#gathered(`${name}/picked`, dtype, stacked, indices, zero);
  }

  /**
   * Stacked elements with zeros for those that no turn has set. Without a turn there is nothing that would tell the shape of
   * the zeros: then it must be known, or reading the list is an error, as in TensorFlow.
   */
  #padded(name: string, turns: TensorRef, shape: Shape): TensorRef {
    const { stacked, dtype } = this.#list;
    const zero = this.#ints(`${name}/zero`, [0], []);
    const one = this.#ints(`${name}/one`, [1], [1]);
    const rest = this.#ints(`${name}/rest`, [-1], [1]);
    const length = isFull(shape) ? this.#list.length : this.#checkedLength(name, turns, zero);
    const missing = this.#node(`${name}/missing`, "Sub", [length, turns], { T: "int32" });
    const dims = this.#node(`${name}/shape`, "Shape", [stacked], { T: dtype, out_type: "int32" });
    const element = isFull(shape)
      ? this.#ints(`${name}/element`, shape, [shape.length])
      : this.#node(`${name}/element`, "Slice", [dims, one, rest], { T: "int32", Index: "int32" });
    const withLength = (count: TensorRef, suffix: string): TensorRef => {
      const vector = this.#node(`${name}/${suffix}/count`, "Pack", [count], { T: "int32", N: 1, axis: 0 });
      const ints = { T: "int32", N: 2, Tidx: "int32" };
      return this.#node(`${name}/${suffix}`, "ConcatV2", [vector, element, zero], ints);
    };
    const filler = this.#filler(name, withLength(missing, "filler/shape"));
    const rows = isFull(shape)
      ? this.#node(`${name}/rows`, "Reshape", [stacked, withLength(turns, "rows/shape")], { T: dtype, Tshape: "int32" })
      : stacked;
    return this.#node(`${name}/padded`, "ConcatV2", [rows, filler, zero], { T: dtype, N: 2, Tidx: "int32" });
  }

  /** Zeros, or empty strings. */
  #filler(name: string, shape: TensorRef): TensorRef {
    const { dtype } = this.#list;
    const types = { SrcT: "int32", DstT: dtype };
    const value =
      dtype === "string"
        ? this.#nodes.constant(`${name}/filler/value`, strings([], [""]))
        : this.#node(`${name}/filler/value`, "Cast", [this.#ints(`${name}/filler/zero`, [0], [])], types);
    return this.#node(`${name}/filler`, "Fill", [shape, value], { T: dtype, index_type: "int32" });
  }

  /** The list's length; fails where the loop took no turn. */
  #checkedLength(name: string, turns: TensorRef, zero: TensorRef): TensorRef {
    const one = this.#ints(`${name}/first`, [1], []);
    const before = this.#node(`${name}/before`, "Sub", [turns, one], { T: "int32" });
    const index = this.#node(`${name}/any`, "Minimum", [before, zero], { T: "int32" });
    const vector = this.#node(`${name}/lengths`, "Pack", [this.#list.length], { T: "int32", N: 1, axis: 0 });
    return this.#gathered(`${name}/length`, "int32", vector, index, zero);
  }

  /** Elements of `params` along `axis`, a scalar. */
  #gathered(name: string, dtype: DType, params: TensorRef, indices: TensorRef, axis: TensorRef): TensorRef {
    return this.#node(name, "GatherV2", [params, indices, axis], { Tparams: dtype, Tindices: "int32", Taxis: "int32" });
  }

  #ints(name: string, values: readonly number[], shape: readonly number[]): TensorRef {
    return this.#nodes.constant(name, tensor("int32", shape, Int32Array.from(values)));
  }

  #node(name: string, op: string, inputs: readonly TensorRef[], attrs: Readonly<Record<string, AttrValue>>): TensorRef {
    return this.#nodes.op(name, op, inputs, attrs);
  }
}

function isFull(shape: Shape): shape is readonly number[] {
  return shape !== undefined && !shape.includes(-1);
}
