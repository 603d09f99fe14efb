import type { DType } from "@shardserve/tensor";
import { ServingError } from "@shardserve/core";
import type { Attrs, Shape } from "../ir/attrs.js";
import { argSize } from "../ir/inline.js";
import {
  constantOf,
  type GraphNode,
  type NodeContext,
  outputKey,
  refKey,
  type TensorRef,
  type ValueInfo,
} from "../ir/ir.js";
import { type Program, topologicalOrder } from "../ir/program.js";
import { type ArgDef, opDef } from "../op-table.js";
import { ARRAY_SHAPES } from "./arrays.js";
import { FLOW_SHAPES } from "./flow.js";
import { INDEXING_SHAPES } from "./indexing.js";
import { LIST_SHAPES } from "./lists.js";
import { MATH_SHAPES } from "./math.js";
import { NN_SHAPES } from "./nn.js";
import { PART_SHAPES } from "./parts.js";
import { type PartialValue, repeat, sameShape, type ShapeCall, type ShapeFunction, UNKNOWN } from "./shapes.js";
import { TEXT_SHAPES } from "./text.js";
import { VALUE_FUNCTIONS, valueOfTensor } from "./values.js";

/** What is known of the values of a program before any request. */
export interface Inference {
  readonly program: Program;
  /** Nodes in topological order. */
  readonly order: readonly GraphNode[];
  /** By refKey; absent for outputs of ops that nothing is known of. */
  readonly infos: ReadonlyMap<string, ValueInfo>;
  /** Known elements of small integer values, by refKey. */
  readonly values: ReadonlyMap<string, PartialValue>;
}

const SHAPES: Readonly<Record<string, ShapeFunction>> = {
  ...FLOW_SHAPES,
  ...LIST_SHAPES,
  ...ARRAY_SHAPES,
  ...PART_SHAPES,
  ...INDEXING_SHAPES,
  ...MATH_SHAPES,
  ...NN_SHAPES,
  ...TEXT_SHAPES,
};

/**
 * Infers dtypes and shapes. Fed values have the shape attribute of their Placeholder, which the caller sets to what it
 * will hold requests to; everything else follows from the ops. An op without a shape function has unknown shapes.
 * What ops would reject at run time is not reported here: shapes that cannot be are as good as unknown.
 *
 * @param previous an inference of a program that this one was made from: what did not change is not inferred again
 */
export function infer(program: Program, previous?: Inference): Inference {
  if (previous?.program === program) return previous;
  const order = topologicalOrder(program);
  const known = new Knowledge(previous);
  for (const node of order) known.add(node);
  return { program, order, infos: known.infos, values: known.values };
}

/** What is known of the nodes so far, added one after the other in topological order. */
export class Knowledge {
  readonly infos = new Map<string, ValueInfo>();
  readonly values = new Map<string, PartialValue>();
  readonly #previous: Inference | undefined;

  constructor(previous?: Inference) {
    this.#previous = previous;
  }

  add(node: GraphNode): void {
    if (this.#reuse(node)) return;
    const dtypes = outputDTypes(node, (ref) => this.infos.get(refKey(ref))?.dtype);
    if (!dtypes) return;
    const call = shapeCall(node, dtypes, this.infos, this.values);
    const shapes = call ? shapesOf(call) : [];
    for (const [i, dtype] of dtypes.entries()) {
      const key = outputKey(node.name, i);
      this.infos.set(key, unlessSame({ dtype, shape: shapes[i] }, this.#previous?.infos.get(key), sameInfo));
    }
    if (!call) return;
    for (const [i, value] of valuesOf(call, shapes, dtypes).entries()) {
      const key = outputKey(node.name, i);
      if (value) this.values.set(key, unlessSame(value, this.#previous?.values.get(key), sameValue));
    }
  }

  /** Takes over what was inferred of a node that neither changed nor has inputs of which more, or less, is known now. */
  #reuse(node: GraphNode): boolean {
    const previous = this.#previous;
    if (previous?.program.graph.get(node.name) !== node) return false;
    for (const ref of node.inputs) {
      const key = refKey(ref);
      if (this.infos.get(key) !== previous.infos.get(key) || this.values.get(key) !== previous.values.get(key))
        return false;
    }
    for (let i = 0; ; i++) {
      const key = outputKey(node.name, i);
      const info = previous.infos.get(key);
      if (!info) return i > 0;
      this.infos.set(key, info);
      const value = previous.values.get(key);
      if (value) this.values.set(key, value);
    }
  }
}

/** What was known, where nothing else is known now: what was made of it still stands then. */
function unlessSame<T>(now: T, before: T | undefined, isSame: (a: T, b: T) => boolean): T {
  return before !== undefined && isSame(now, before) ? before : now;
}

function sameInfo(a: ValueInfo, b: ValueInfo): boolean {
  return a.dtype === b.dtype && sameShape(a.shape, b.shape);
}

function sameValue(a: PartialValue, b: PartialValue): boolean {
  return sameShape(a.shape, b.shape) && a.values.every((item, i) => item === b.values[i]);
}

/** What kernels and lowerings may ask about a node. */
export function contextOf(node: GraphNode, inference: Inference, program: Program): NodeContext | undefined {
  const inputs = node.inputs.map((ref) => inference.infos.get(refKey(ref)));
  if (inputs.includes(undefined)) return undefined;
  const outputs: ValueInfo[] = [];
  for (let i = 0; ; i++) {
    const info = inference.infos.get(outputKey(node.name, i));
    if (!info) break;
    outputs.push(info);
  }
  return {
    inputs: inputs as ValueInfo[],
    outputs,
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
  infos: ReadonlyMap<string, ValueInfo>,
  values: ReadonlyMap<string, PartialValue>,
): ShapeCall | undefined {
  const inputs = node.inputs.map((ref) => infos.get(refKey(ref)));
  // The back edge of a TF1 loop, or the output of an unknown op.
  if (inputs.includes(undefined)) return undefined;
  return {
    node,
    attrs: node.attrs,
    dtypes,
    inputs: inputs as ValueInfo[],
    shape: (i) => inputs[i]?.shape,
    value: (i) => (node.inputs[i] ? values.get(refKey(node.inputs[i])) : undefined),
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
