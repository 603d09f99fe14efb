import type { HloRegion, HloValue } from "@shardserve/savedmodel";
import { attr } from "@shardserve/savedmodel";
import type { Ref } from "./function-builder.js";
import { listsOf } from "./loop-rows.js";
import type { OpTranslation, Translate, Translated } from "./translation.js";

/** Ops with regions that run as a whole: calls, branches and loops. What a region uses of its surroundings becomes an argument. */

const call: Translate = (t) => invoke(t, symbol(t, "callee"));

export function symbol(t: OpTranslation, name: string): string {
  return t.attrs.text(name);
}

export function invoke(t: OpTranslation, name: string): readonly (Ref | Translated)[] {
  const inlined = t.around.inlinedCall(name, t.op.operands);
  if (inlined) return inlined;
  const { function: target, results } = t.around.calledFunction(name);
  if (results.length !== t.op.results.length) t.fail(`"${name}" has ${results.length} results`);
  return t.b.emitAll("PartitionedCall", t.ins(), { f: attr.func(target), Tout: attr.types(results) });
}

const whileLoop: Translate = (t) => {
  const [condition, body] = [t.region(0), t.region(1)];
  const captures = freeValues([condition, body]);
  const lists = listsOf(t);
  const initial = t.op.operands.map((_, i) => lists.get(i)?.made ?? t.in(i));
  const carried = [...initial, ...captures.map((value) => t.around.translated(value).full())];
  const results = t.b.emitAll("StatelessWhile", carried, {
    cond: attr.func(t.around.regionFunction(condition, captures, "drop")),
    body: attr.func(t.around.regionFunction(body, captures, "hand on")),
  });
  return results.slice(0, t.op.results.length).map((result, i) => lists.get(i)?.stacked(result) ?? result);
};

function branches(t: OpTranslation, regions: readonly HloRegion[]): { captured: Ref[]; functions: string[] } {
  const captures = freeValues(regions);
  return {
    captured: captures.map((value) => t.around.translated(value).full()),
    functions: regions.map((region) => t.around.regionFunction(region, captures, "drop")),
  };
}

const ifOp: Translate = (t) => {
  const { captured, functions } = branches(t, [t.region(0), t.region(1)]);
  return t.b.emitAll("StatelessIf", [t.in(0), ...captured], {
    then_branch: attr.func(functions[0]!),
    else_branch: attr.func(functions[1]!),
    Tout: resultTypes(t),
  });
};

/** An index that is none picks the last branch, in TensorFlow as in XLA. */
const caseOp: Translate = (t) => {
  const { captured, functions } = branches(t, t.op.regions);
  return t.b.emitAll("StatelessCase", [t.in(0), ...captured], {
    branches: attr.funcs(functions),
    Tout: resultTypes(t),
  });
};

function resultTypes(t: OpTranslation) {
  return attr.types(t.op.results.map((_, i) => t.resultDType(i)));
}

/** Values that regions use and do not define. */
export function freeValues(regions: readonly HloRegion[]): HloValue[] {
  const [free, bound] = [new Set<HloValue>(), new Set<HloValue>()];
  const visit = (region: HloRegion): void => {
    for (const value of region.args) bound.add(value);
    for (const op of region.ops) {
      for (const value of op.operands) if (!bound.has(value)) free.add(value);
      op.regions.forEach(visit);
      for (const value of op.results) bound.add(value);
    }
  };
  regions.forEach(visit);
  return [...free];
}

export const CONTROL: Readonly<Record<string, Translate>> = { call, case: caseOp, if: ifOp, while: whileLoop };
