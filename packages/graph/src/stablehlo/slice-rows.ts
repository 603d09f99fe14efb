import type { HloOp, HloValue } from "@shardserve/savedmodel";
import { constantInts, type OpTranslation } from "./translation.js";

/** One row of an operand, along an axis of it. */
export interface Row {
  readonly axis: number;
  /** The row's number, a scalar that is moved inside of the operand. */
  readonly start: HloValue;
}

/** An element of a vector of sizes or starts: a number, or a scalar of the module. */
type Element = number | HloValue;

/**
 * The row that a real_dynamic_slice takes, where it is what JAX makes of a dynamic_slice over a size that the request tells:
 * starts = clamp(0, starts, dims - sizes), limits = starts + sizes, in which JAX says the operand's dimensions itself. All axes but one are taken whole.
 */
export function rowOf(t: OpTranslation): Row | undefined {
  const reader = new VectorReader(t);
  const [zeros, starts, room] = reader.operands(t.operand(1), "clamp") ?? [];
  const [first, added] = reader.operands(t.operand(2), "add") ?? [];
  const [dims, sizes] = (room && reader.operands(room, "subtract")) ?? [];
  if (!zeros || !starts || !dims || !sizes || first !== t.operand(1) || added !== sizes) return undefined;
  const vectors = [starts, zeros, dims, sizes, t.operand(3)].map((vector) => reader.elements(vector));
  if (vectors.some((vector) => vector?.length !== t.rank(0))) return undefined;
  const [start, zero, dim, size, stride] = vectors as [Element[], Element[], Element[], Element[], Element[]];
  const isAsStated = t
    .type(0)
    .shape.every((length, axis) => length === (typeof dim[axis] === "number" ? dim[axis] : -1));
  if (!isAsStated) return undefined; // what is said to be whole would be less
  const cut = size.map((_, axis) => axis).filter((axis) => size[axis] !== dim[axis] || start[axis] !== 0);
  const [axis] = cut;
  if (axis === undefined || cut.length > 1 || size[axis] !== 1) return undefined;
  if (zero.some((item) => item !== 0) || stride.some((item) => item !== 1)) return undefined;
  const at = start[axis]!;
  return typeof at === "number" ? undefined : { axis, start: at };
}

/** Reads vectors of integers that are put together of scalars. */
class VectorReader {
  readonly #t: OpTranslation;

  constructor(t: OpTranslation) {
    this.#t = t;
  }

  operands(value: HloValue, op: string): readonly HloValue[] | undefined {
    const definition = this.#t.around.definition(value);
    return definition?.name === op ? definition.operands : undefined;
  }

  elements(value: HloValue): readonly Element[] | undefined {
    const numbers = constantInts(value, this.#t.around);
    if (numbers) return numbers;
    const definition = this.#t.around.definition(value);
    if (definition?.name === "broadcast_in_dim") return this.#repeated(definition, value);
    if (definition?.name === "reshape") {
      const scalar = definition.operands[0]!;
      return isScalar(scalar) ? [this.#scalar(scalar)] : undefined;
    }
    if (definition?.name !== "concatenate") return undefined;
    const parts = definition.operands.map((part) => this.elements(part));
    return parts.includes(undefined) ? undefined : parts.flatMap((part) => part!);
  }

  #scalar(value: HloValue): Element {
    return constantInts(value, this.#t.around)?.[0] ?? this.#t.around.behindCalls(value);
  }

  #repeated({ operands: [scalar] }: HloOp, { type }: HloValue): readonly Element[] | undefined {
    const length = type.kind === "tensor" && type.shape.length === 1 ? type.shape[0]! : -1;
    if (!isScalar(scalar!) || length < 0) return undefined;
    return Array.from({ length }, () => this.#scalar(scalar!));
  }
}

function isScalar({ type }: HloValue): boolean {
  return type.kind === "tensor" && type.shape.length === 0;
}
