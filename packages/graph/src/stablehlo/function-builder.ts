import {
  type AttrValue,
  AttrValueSchema,
  create,
  type FunctionDef,
  FunctionDefSchema,
  type NodeDef,
  NodeDefSchema,
} from "@shardserve/api";
import { invariant, ServingError } from "@shardserve/core";
import { attr } from "@shardserve/savedmodel";
import {
  type DType,
  DTYPES,
  dtypeFromTf,
  encodeTensorProto,
  type NumericDType,
  numberToBfloat,
  numberToHalf,
  scalar,
  strings,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import { type ArgDef, opDef } from "../op-table.js";

/** A value inside a function: "node:output" or the name of an argument. */
export interface Ref {
  readonly name: string;
  readonly dtype: DType;
}

export type Attributes = Readonly<Record<string, AttrValue>>;

/** A module translates to this many nodes at the most; its bytes bound them, but for windows that are spelled out. */
export const NODES_MAX = 200_000;

/** Writes a FunctionDef of TensorFlow ops, node by node. Attributes that follow from the inputs are filled in. */
export class FunctionBuilder {
  readonly name: string;
  readonly #args: Ref[] = [];
  readonly #nodes: NodeDef[] = [];
  readonly #effects: string[] = [];
  readonly #constants = new Map<string, Ref>();

  constructor(name: string) {
    this.name = name;
  }

  get nodeCount(): number {
    return this.#nodes.length;
  }

  argument(dtype: DType): Ref {
    const ref = { name: `arg_${this.#args.length}`, dtype };
    this.#args.push(ref);
    return ref;
  }

  /** Adds a node; @returns all its outputs */
  emitAll(op: string, inputs: readonly Ref[], attrs: Attributes = {}): Ref[] {
    if (this.#nodes.length >= NODES_MAX) {
      throw new ServingError("GRAPH_INVALID", `a StableHLO function becomes more than ${NODES_MAX} nodes`);
    }
    const def = opDef(op);
    invariant(def !== undefined, () => `TensorFlow has no op ${op}`);
    const complete: Record<string, AttrValue> = { ...attrs };
    let position = 0;
    for (const [i, arg] of def.inputs.entries()) {
      // A list takes what the arguments behind it leave; no op here has two.
      const count = arg.numberAttr || arg.typeListAttr ? inputs.length - position - (def.inputs.length - 1 - i) : 1;
      if (arg.numberAttr) complete[arg.numberAttr] ??= attr.int(count);
      if (arg.typeAttr) complete[arg.typeAttr] ??= attr.type(inputs[position]!.dtype);
      if (arg.typeListAttr) {
        complete[arg.typeListAttr] ??= attr.types(inputs.slice(position, position + count).map(({ dtype }) => dtype));
      }
      position += count;
    }
    const name = `${op}_${this.#nodes.length}`;
    this.#nodes.push(create(NodeDefSchema, { name, op, input: inputs.map((ref) => ref.name), attr: complete }));
    const dtypes = def.outputs.flatMap((arg) => outputDTypes(arg, complete));
    return dtypes.map((dtype, i) => ({ name: `${name}:${i}`, dtype }));
  }

  /** Adds a node; @returns its first output */
  emit(op: string, inputs: readonly Ref[], attrs: Attributes = {}): Ref {
    return this.emitAll(op, inputs, attrs)[0]!;
  }

  /** Adds a node that must run although nothing reads it. */
  effect(op: string, inputs: readonly Ref[], attrs: Attributes = {}): void {
    this.emitAll(op, inputs, attrs);
    this.#effects.push(this.#nodes.at(-1)!.name);
  }

  constant(value: Tensor): Ref {
    const key = value.data.length <= 16 && value.dtype !== "string" ? keyOf(value) : undefined;
    const known = key === undefined ? undefined : this.#constants.get(key);
    if (known) return known;
    const proto = create(AttrValueSchema, {
      value: { case: "tensor", value: encodeTensorProto(value, { asContent: value.dtype !== "string" }) },
    });
    const [ref] = this.emitAll("Const", [], { dtype: attr.type(value.dtype), value: proto });
    if (key !== undefined) this.#constants.set(key, ref!);
    return ref!;
  }

  /** A scalar of any numeric dtype. */
  scalar(dtype: DType, value: number | bigint): Ref {
    const bits =
      dtype === "float16" ? numberToHalf(Number(value)) : dtype === "bfloat16" ? numberToBfloat(Number(value)) : value;
    return this.constant(scalar(dtype as NumericDType, bits));
  }

  /** A vector of int32: axes, permutations, shapes. */
  ints(values: readonly number[]): Ref {
    return this.constant(tensor("int32", [values.length], Int32Array.from(values)));
  }

  text(value: string): Ref {
    return this.constant(strings([], [value]));
  }

  cast(value: Ref, dtype: DType): Ref {
    return value.dtype === dtype ? value : this.emit("Cast", [value], { DstT: attr.type(dtype) });
  }

  finish(results: readonly Ref[]): FunctionDef {
    const arg = (name: string, dtype: DType) => ({ name, type: DTYPES[dtype].tf });
    return create(FunctionDefSchema, {
      signature: {
        name: this.name,
        inputArg: this.#args.map(({ name, dtype }) => arg(name, dtype)),
        outputArg: results.map(({ dtype }, i) => arg(`result_${i}`, dtype)),
        controlOutput: this.#effects,
      },
      nodeDef: this.#nodes,
      ret: Object.fromEntries(results.map(({ name }, i) => [`result_${i}`, name])),
      controlRet: Object.fromEntries(this.#effects.map((name) => [name, name])),
    });
  }
}

function outputDTypes(arg: ArgDef, attrs: Attributes): DType[] {
  const of = (name: string): AttrValue["value"] | undefined => attrs[name]?.value;
  if (arg.typeListAttr) {
    const list = of(arg.typeListAttr);
    return list?.case === "list" ? list.value.type.map((type) => dtypeFromTf(type)) : [];
  }
  const type = arg.typeAttr ? of(arg.typeAttr) : undefined;
  const given = type?.case === "type" ? dtypeFromTf(type.value) : undefined;
  // What has a default in TensorFlow: the dtype of Shape, of the indices of TopKV2 and ArgMax.
  const dtype = arg.dtype ?? given ?? "int32";
  const count = arg.numberAttr ? of(arg.numberAttr) : undefined;
  return Array.from({ length: count?.case === "i" ? Number(count.value) : 1 }, () => dtype);
}

function keyOf({ dtype, shape, data }: Tensor): string {
  return `${dtype} ${shape.join(",")} ${Array.from(data as ArrayLike<unknown>, spelled).join(",")}`;
}

/** Minus zero is another constant than zero. */
function spelled(value: unknown): string {
  return Object.is(value, -0) ? "-0" : String(value);
}
