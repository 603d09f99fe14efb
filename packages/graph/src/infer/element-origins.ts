import { type GraphNode, type TensorRef } from "../ir/ir.js";
import { nodeOf, type Program } from "../ir/program.js";
import type { Inference } from "./inference.js";
import { knownScalar, knownValues } from "./shapes.js";
import { sliceAxes, sliceRange } from "./strided-slice.js";

/** One element of a value, by its flat position. */
export interface Element {
  readonly ref: TensorRef;
  readonly at: number;
}

/**
 * The element that an element of shape arithmetic is a copy of, through slices, gathers, packs and reductions of a single
 * element; itself where nothing is known. Two elements of the same origin are equal whatever the request.
 */
export function originOf(program: Program, inference: Inference, element: Element): Element {
  let current = element;
  for (;;) {
    const next = copiedFrom(nodeOf(program.graph, current.ref.node), current.at, inference);
    if (!next) return current;
    current = next;
  }
}

function copiedFrom(node: GraphNode, at: number, inference: Inference): Element | undefined {
  const [first] = node.inputs;
  if (!first || node.controls.length > 0) return undefined;
  const shape = inference.info(first)?.shape;
  const values = (input: number) => inference.value(node.inputs[input]!);
  switch (node.op) {
    case "Identity":
    case "Reshape":
    case "ExpandDims":
    case "Squeeze":
      return { ref: first, at };
    case "Pack":
      return shape?.length === 0 ? { ref: node.inputs[at]!, at: 0 } : undefined;
    case "ConcatV2":
      return partOf(node.inputs.slice(0, -1), at, inference);
    case "Slice": {
      const begin = knownScalar(values(1));
      return shape?.length === 1 && begin !== undefined ? { ref: first, at: begin + at } : undefined;
    }
    case "StridedSlice": {
      const [begin, end, strides] = [values(1)?.values, values(2)?.values, values(3)?.values];
      if (shape?.length !== 1 || shape[0] === -1 || !begin || !end || !strides) return undefined;
      const axes = sliceAxes(node.attrs, { begin, end, strides }, 1);
      const axis = axes?.length === 1 ? axes[0] : undefined;
      const range = axis && sliceRange(axis, shape[0]!);
      return range && { ref: first, at: range.first + at * range.step };
    }
    case "GatherV2": {
      const index = values(1)?.values[at];
      const isAlongFirst = knownScalar(values(2)) === 0 && node.attrs.int("batch_dims") === 0;
      return shape?.length === 1 && isAlongFirst && index !== undefined ? { ref: first, at: index } : undefined;
    }
    case "Prod":
    case "Sum":
    case "Max":
    case "Min":
      return shape?.length === 1 && shape[0] === 1 && knownValues(values(1))?.length === 1
        ? { ref: first, at: 0 }
        : undefined;
    default:
      return undefined;
  }
}

/** The element at `position` of vectors that are put one behind the other. */
function partOf(parts: readonly TensorRef[], position: number, inference: Inference): Element | undefined {
  let at = position;
  for (const ref of parts) {
    const shape = inference.info(ref)?.shape;
    if (shape?.length !== 1 || shape[0] === -1) return undefined;
    if (at < shape[0]!) return { ref, at };
    at -= shape[0]!;
  }
  return undefined;
}
