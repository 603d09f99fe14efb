import type { HloOp, HloRegion, HloValue } from "@shardserve/savedmodel";
import { ELEMENTWISE } from "./elementwise.js";
import type { Ref } from "./function-builder.js";
import type { OpTranslation } from "./translation.js";

/** What a value of a region computes of one of the region's arguments; two with one `id` compute the same, each of its own. */
export interface Expression {
  readonly id: number;
  /** Position of the argument; undefined of constants. */
  readonly position: number | undefined;
}

/** The values of a region of scalars that follow from one argument alone, element by element. */
export function expressionsOf(region: HloRegion): ReadonlyMap<HloValue, Expression> {
  const ids = new Map<string, number>();
  const idOf = (text: string): number => {
    const id = ids.get(text) ?? ids.size;
    ids.set(text, id);
    return id;
  };
  const found = new Map<HloValue, Expression>();
  for (const [position, arg] of region.args.entries()) found.set(arg, { id: idOf("argument"), position });
  for (const op of region.ops) {
    const [result] = op.results;
    const operands = op.operands.map((value) => found.get(value));
    const positions = new Set(operands.flatMap((operand) => operand?.position ?? []));
    const text = result && spelled(op, operands);
    if (text === undefined || operands.includes(undefined) || positions.size > 1) continue;
    found.set(result!, { id: idOf(text), position: [...positions][0] });
  }
  return found;
}

/** What tells an op from others of the same kind; undefined for one that is not known to work element by element. */
function spelled(op: HloOp, operands: readonly (Expression | undefined)[]): string | undefined {
  const type = op.results[0]!.type;
  if (op.regions.length > 0 || type.kind !== "tensor" || type.shape.length > 0) return undefined;
  const head = `${op.name} ${type.element.name} ${operands.map((operand) => operand?.id).join()}`;
  if (op.name === "constant") return `${head} ${Buffer.from(op.attrs.tensor("value").bytes).toString("hex")}`;
  if (op.name === "compare") {
    const kind = op.attrs.get("compare_type");
    return `${head} ${op.attrs.enum("comparison_direction")} ${kind?.kind === "enum" ? kind.value : ""}`;
  }
  return Object.hasOwn(ELEMENTWISE, op.name) && op.name !== "reduce_precision" ? head : undefined;
}

/** A value of a region of scalars, computed for every element of `args`. */
export function computed(t: OpTranslation, region: HloRegion, value: HloValue, args: readonly Ref[]): Ref {
  const needed = new Set([value]);
  const ops: HloOp[] = [];
  for (const op of region.ops.toReversed()) {
    if (!op.results.some((result) => needed.has(result))) continue;
    ops.unshift(op);
    for (const operand of op.operands) needed.add(operand);
  }
  const end: HloOp = { ...region.ops.at(-1)!, name: "return", operands: [value] };
  return t.around.inlined({ args: region.args, ops: [...ops, end] }, args)[0]!.full();
}
