import type { DType } from "@shardserve/tensor";
import { eachInPieces, type Pieces, runAtOnce, ServingError } from "@shardserve/core";
import type { Attrs, Shape } from "../ir/attrs.js";
import { argSize } from "../ir/inline.js";
import { constantOf, type GraphNode, type NodeContext, type TensorRef, type ValueInfo } from "../ir/ir.js";
import { ordering, type Program } from "../ir/program.js";
import { type ArgDef, opDef } from "../op-table.js";
import { Inference, type NodeKnowledge } from "./inference.js";
import { ARRAY_SHAPES } from "./arrays.js";
import { FLOW_SHAPES } from "./flow.js";
import { INDEXING_SHAPES } from "./indexing.js";
import { LIST_SHAPES } from "./lists.js";
import { MATH_SHAPES } from "./math.js";
import { NN_SHAPES } from "./nn.js";
import { PART_SHAPES } from "./parts.js";
import { type PartialValue, repeat, sameShape, type ShapeCall, type ShapeFunction, UNKNOWN } from "./shapes.js";
import { TEXT_SHAPES } from "./text.js";
import { XLA_SHAPES } from "./xla.js";
import { VALUE_FUNCTIONS, valueOfTensor } from "./values.js";

const SHAPES: Readonly<Record<string, ShapeFunction>> = {
  ...FLOW_SHAPES,
  ...LIST_SHAPES,
  ...ARRAY_SHAPES,
  ...PART_SHAPES,
  ...INDEXING_SHAPES,
  ...MATH_SHAPES,
  ...NN_SHAPES,
  ...TEXT_SHAPES,
  ...XLA_SHAPES,
};

/**
 * Infers dtypes and shapes. Fed values have the shape attribute of their Placeholder, which the caller sets to what it
 * will hold requests to; everything else follows from the ops. An op without a shape function has unknown shapes.
 * What ops would reject at run time is not reported here: shapes that cannot be are as good as unknown.
 *
 * @param previous an inference of a program that this one was made from: what did not change is not inferred again
 */
export function infer(program: Program, previous?: Inference): Inference {
  return runAtOnce(inferring(program, previous));
}

/** {@link infer} in pieces. */
export function* inferring(program: Program, previous?: Inference): Pieces<Inference> {
  if (previous?.program === program) return previous;
  const knowledge = new Knowledge(previous);
  yield* eachInPieces(yield* ordering(program), (node) => knowledge.add(node));
  return knowledge.of(program);
}

/** What is known of the nodes so far, added one after the other in topological order. */
export class Knowledge {
  readonly #previous: Inference | undefined;
  readonly #order: GraphNode[] = [];
  readonly #nodes = new Map<string, NodeKnowledge>();

  constructor(previous?: Inference) {
    this.#previous = previous;
  }

  add(node: GraphNode): void {
    this.#order.push(node);
    const before = this.#previous?.nodes.get(node.name);
    const now = before && this.#isUnchanged(node) ? before : this.#inferred(node, before);
    if (now) this.#nodes.set(node.name, now);
  }

  info({ node, index }: TensorRef): ValueInfo | undefined {
    return this.#nodes.get(node)?.infos[index];
  }

  /** @param program  the one whose nodes were added */
  of(program: Program): Inference {
    return new Inference(program, this.#order, this.#nodes);
  }

  /** True for a node that neither changed nor has inputs of which more, or less, is known now. */
  #isUnchanged(node: GraphNode): boolean {
    const previous = this.#previous!;
    if (previous.program.graph.get(node.name) !== node) return false;
    return node.inputs.every((ref) => this.#nodes.get(ref.node) === previous.nodes.get(ref.node));
  }

  #inferred(node: GraphNode, before: NodeKnowledge | undefined): NodeKnowledge | undefined {
    const dtypes = outputDTypes(node, (ref) => this.info(ref)?.dtype);
    if (!dtypes) return undefined;
    const call = shapeCall(node, dtypes, this.#nodes);
    const shapes = call ? shapesOf(call) : [];
    const infos = dtypes.map((dtype, i) => unlessSame({ dtype, shape: shapes[i] }, before?.infos[i], sameInfo));
    const values = call ? valuesOf(call, shapes, dtypes) : [];
    const kept = values.map((value, i) => value && unlessSame(value, before?.values[i], sameValue));
    return unlessSame({ infos, values: kept }, before, sameKnowledge);
  }
}

/** What was known, where nothing else is known now: what was made of it still stands then. */
function unlessSame<T>(now: T, before: T | undefined, isSame: (a: T, b: T) => boolean): T {
  return before !== undefined && isSame(now, before) ? before : now;
}

function sameKnowledge(a: NodeKnowledge, b: NodeKnowledge): boolean {
  return sameItems(a.infos, b.infos) && sameItems(a.values, b.values);
}

function sameItems<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

function sameInfo(a: ValueInfo, b: ValueInfo): boolean {
  return a.dtype === b.dtype && sameShape(a.shape, b.shape);
}

function sameValue(a: PartialValue, b: PartialValue): boolean {
  return sameShape(a.shape, b.shape) && a.values.every((item, i) => item === b.values[i]);
}

/** What kernels and lowerings may ask about a node. */
export function contextOf(node: GraphNode, inference: Inference, program: Program): NodeContext | undefined {
  const inputs = node.inputs.map((ref) => inference.info(ref));
  if (inputs.includes(undefined)) return undefined;
  return {
    inputs: inputs as ValueInfo[],
    outputs: inference.nodes.get(node.name)?.infos ?? [],
    constant: (index) => {
      const ref = node.inputs[index];
      return ref && constantOf(program.graph.get(ref.node));
    },
  };
}

/** Dtypes of all outputs; undefined for an op that is not TensorFlow's, or with a dtype that is not ours. */
function outputDTypes(node: GraphNode, dtypeOf: (ref: TensorRef) => DType | undefined): readonly DType[] | undefined {
  switch (node.op) {
    case "Variable":
      return [node.attrs.dtype("dtype")];
    case "Lookup":
      return [node.attrs.dtype("dtype"), "int32"];
    case "BoundedIds":
      return ["int32", "bool"];
    case "FilledIds": {
      const dtype = dtypeOf(node.inputs[1]!);
      return dtype && ["int64", dtype, "bool"];
    }
    case "PooledLookup": {
      const dtype = dtypeOf(node.inputs[0]!);
      return dtype && [dtype];
    }
    case "PresentElements": {
      const dtype = dtypeOf(node.inputs[0]!);
      return dtype && ["int64", dtype];
    }
    // Its attribute says resource where a frozen variable has become a value.
    case "Switch":
    case "RefSwitch": {
      const dtype = node.inputs[0] && dtypeOf(node.inputs[0]);
      return dtype && [dtype, dtype];
    }
    case "Loop":
    case "Branch":
      return node.attrs.dtypes("dtypes");
    // Here the flow of a TensorArray is the array: see TensorList.
    case "TensorArrayV3":
      return ["resource", "variant"];
    case "TensorArrayWriteV3":
    case "TensorArrayScatterV3":
    case "TensorArraySplitV3":
      return ["variant"];
    case "Const": {
      const value = constantOf(node);
      return value && [value.dtype];
    }
    // Made by passes without types, and by function calls: what goes in comes out.
    case "Identity":
    case "IdentityN":
    case "GatherRows": {
      const dtypes = (node.op === "IdentityN" ? node.inputs : node.inputs.slice(0, 1)).map(dtypeOf);
      return dtypes.includes(undefined) ? undefined : (dtypes as DType[]);
    }
    default: {
      const def = opDef(node.op);
      const dtypes = def?.outputs.flatMap((arg) => argDTypes(arg, node.attrs));
      return dtypes?.includes(undefined) ? undefined : (dtypes as DType[] | undefined);
    }
  }
}

/** The dtypes of one argument's values. */
export function argDTypes(arg: ArgDef, attrs: Attrs): (DType | undefined)[] {
  try {
    if (arg.typeListAttr) return attrs.dtypes(arg.typeListAttr);
    const dtype = arg.typeAttr ? attrs.dtype(arg.typeAttr) : arg.dtype;
    return repeat<DType | undefined>(dtype, argSize(arg, attrs));
  } catch (error) {
    if (error instanceof ServingError) return [undefined];
    throw error;
  }
}

function shapeCall(
  node: GraphNode,
  dtypes: readonly DType[],
  known: ReadonlyMap<string, NodeKnowledge>,
): ShapeCall | undefined {
  const inputs = node.inputs.map((ref) => known.get(ref.node)?.infos[ref.index]);
  // The back edge of a TF1 loop, or the output of an unknown op.
  if (inputs.includes(undefined)) return undefined;
  return {
    node,
    attrs: node.attrs,
    dtypes,
    inputs: inputs as ValueInfo[],
    shape: (i) => inputs[i]?.shape,
    value: (i) => {
      const ref = node.inputs[i];
      return ref && known.get(ref.node)?.values[ref.index];
    },
  };
}

function shapesOf(call: ShapeCall): readonly Shape[] {
  const shapes = SHAPES[call.node.op]?.(call) ?? [];
  // A contradiction in the graph may compute nonsense; a nonsense dimension is unknown.
  return shapes.map((shape) => shape?.map((dim) => (Number.isSafeInteger(dim) && dim >= 0 ? dim : UNKNOWN)));
}

function valuesOf(
  call: ShapeCall,
  shapes: readonly Shape[],
  dtypes: readonly DType[],
): readonly (PartialValue | undefined)[] {
  if (call.node.op === "Const") return [valueOfTensor(call.attrs.tensor("value"))];
  const values = VALUE_FUNCTIONS[call.node.op]?.(call, shapes) ?? [];
  return values.map((value, i) => (value && fits(value, dtypes[i]!) ? value : undefined));
}

/** Only integers are followed, and only while they stay in range: TensorFlow would wrap. */
function fits(value: PartialValue, dtype: DType): boolean {
  const limit = dtype === "int32" ? 2 ** 31 : dtype === "int64" ? 2 ** 53 : 0;
  return value.values.every((item) => item === undefined || (item >= -limit && item < limit));
}
