import { ServingError } from "@shardserve/core";
import type { DType } from "@shardserve/tensor";

/** The element type of a tensor; `dtype` is undefined for those that this project does not name (4-bit integers, 8-bit floats). */
export interface ElementType {
  readonly kind: "element";
  readonly name: string;
  readonly dtype: DType | undefined;
}

/** A tensor of known rank; a dimension is -1 where it is known only when the module runs. */
export interface HloTensorType {
  readonly kind: "tensor";
  readonly shape: readonly number[];
  readonly element: ElementType;
}

/** A type of StableHLO. */
export type HloType =
  | ElementType
  | HloTensorType
  | { readonly kind: "tuple"; readonly types: readonly HloType[] }
  | { readonly kind: "function"; readonly inputs: readonly HloType[]; readonly results: readonly HloType[] }
  /** Tokens, unranked and quantised tensors, and what else no serving model holds. */
  | { readonly kind: "other"; readonly name: string };

/** An attribute as plain data. */
export type HloAttr =
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "integer"; readonly value: bigint }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "boolean"; readonly value: boolean }
  /** Which enum it is of follows from the attribute's name; the numbers are those of VHLO. */
  | { readonly kind: "enum"; readonly value: number }
  | { readonly kind: "array"; readonly items: readonly HloAttr[] }
  | { readonly kind: "dictionary"; readonly entries: ReadonlyMap<string, HloAttr> }
  /** Elements row-major, little-endian; one element alone stands for all of them. Aliases the module's bytes. */
  | { readonly kind: "tensor"; readonly type: HloTensorType; readonly bytes: Uint8Array }
  | { readonly kind: "type"; readonly type: HloType }
  | { readonly kind: "other" };

/** A result of an op or an argument of a region; told apart by identity. */
export interface HloValue {
  readonly type: HloType;
}

/** A block of ops that ends with "return". Its ops may use values of the regions around it. */
export interface HloRegion {
  readonly args: readonly HloValue[];
  readonly ops: readonly HloOp[];
}

/** An operation; its regions are the bodies of loops, branches and reductions. */
export interface HloOp {
  /** The name in StableHLO, without dialect and version: "dot_general". */
  readonly name: string;
  readonly operands: readonly HloValue[];
  readonly results: readonly HloValue[];
  readonly attrs: HloAttrs;
  readonly regions: readonly HloRegion[];
}

/** A function of a module; its parameters are the arguments of the body. */
export interface HloFunction {
  readonly name: string;
  readonly body: HloRegion;
}

/** A StableHLO module, by the names of its functions. */
export interface HloModule {
  readonly functions: ReadonlyMap<string, HloFunction>;
}

/** The attributes of an op. Accessors throw ServingError GRAPH_INVALID when one is absent or of another kind. */
export class HloAttrs {
  readonly #op: string;
  readonly #values: ReadonlyMap<string, HloAttr>;

  constructor(op: string, values: ReadonlyMap<string, HloAttr>) {
    this.#op = op;
    this.#values = values;
  }

  get(name: string): HloAttr | undefined {
    return this.#values.get(name);
  }

  int(name: string): number {
    const attr = this.get(name);
    return attr?.kind === "integer" ? Number(attr.value) : this.#fail(name, "an integer");
  }

  float(name: string): number {
    const attr = this.get(name);
    return attr?.kind === "float" ? attr.value : this.#fail(name, "a float");
  }

  bool(name: string): boolean {
    const attr = this.get(name);
    return attr?.kind === "boolean" ? attr.value : this.#fail(name, "a bool");
  }

  enum(name: string): number {
    const attr = this.get(name);
    return attr?.kind === "enum" ? attr.value : this.#fail(name, "an enum");
  }

  text(name: string): string {
    const attr = this.get(name);
    return attr?.kind === "string" ? attr.value : this.#fail(name, "a string");
  }

  tensor(name: string): HloAttr & { kind: "tensor" } {
    const attr = this.get(name);
    return attr?.kind === "tensor" ? attr : this.#fail(name, "a tensor");
  }

  /** The numbers of a tensor of integers or bools, or of an array of integers; bools as 0 and 1. */
  ints(name: string): number[] {
    const attr = this.get(name);
    if (attr?.kind === "array")
      return attr.items.map((item) => integer(item) ?? this.#fail(name, "a list of integers"));
    if (attr?.kind !== "tensor") return this.#fail(name, "a list of integers");
    const { type, bytes } = attr;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const count = type.shape.reduce((a, b) => a * b, 1);
    const width = type.element.dtype === "int64" ? 8 : type.element.dtype === "bool" ? 1 : 0;
    if (width === 0 || count > LIST_MAX || (bytes.length !== width && bytes.length !== count * width)) {
      return this.#fail(name, "a list of integers");
    }
    const isSplat = bytes.length === width;
    return Array.from({ length: count }, (_, i) => {
      const at = isSplat ? 0 : i * width;
      return width === 8 ? Number(view.getBigInt64(at, true)) : view.getUint8(at);
    });
  }

  #fail(name: string, expected: string): never {
    throw new ServingError("GRAPH_INVALID", `attribute "${name}" of a stablehlo.${this.#op} is not ${expected}`);
  }
}

/** Lists of dimensions, paddings and the like are no longer than this. */
const LIST_MAX = 4096;

function integer(attr: HloAttr): number | undefined {
  if (attr.kind === "integer") return Number(attr.value);
  return attr.kind === "boolean" ? Number(attr.value) : undefined;
}
