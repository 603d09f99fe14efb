import type { HloOp, HloRegion, HloValue } from "@shardserve/savedmodel";
import { attr } from "@shardserve/savedmodel";
import type { Ref } from "./function-builder.js";
import { definitionIn, listsOf } from "./loop-rows.js";
import { constantItem, type OpTranslation, type Translate, type Translated } from "./translation.js";

/** Ops with regions that run as a whole: calls, branches and loops. What a region uses of its surroundings becomes an argument. */

const call: Translate = (t) => invoke(t, symbol(t, "callee"));

export function symbol(t: OpTranslation, name: string): string {
  return t.attrs.text(name);
}

export function invoke(t: OpTranslation, name: string): readonly (Ref | Translated)[] {
  const inlined = t.around.inlinedCall(name, t.op.operands);
  if (inlined) return inlined;
  const { function: target, results } = t.around.calledFunction(name, t.op.operands);
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

/**
 * The index of a branch, where it follows from the platform that the module runs on: the branches of others hold what only those
 * can run.
 */
function knownIndex(t: OpTranslation, value: HloValue): number | undefined {
  const platform = t.around.platformOf(value);
  const op = t.around.definition(value);
  if (platform !== undefined || !op) return platform;
  if (op.name === "convert" || op.name === "reshape") return knownIndex(t, op.operands[0]!);
  const branch = op.name === "case" ? takenBranch(t, op) : undefined;
  const result = branch?.ops.at(-1)?.operands[op.results.indexOf(value)];
  const definition = (inner: HloValue): HloOp | undefined => definitionIn(branch!, inner) ?? t.around.definition(inner);
  const item = result && constantItem(result, { definition });
  return item && Number((item.data as ArrayLike<number | bigint>)[0]);
}

function takenBranch(t: OpTranslation, { operands, regions }: HloOp): HloRegion | undefined {
  const index = operands[0] && knownIndex(t, operands[0]);
  return index === undefined ? undefined : (regions[index] ?? regions.at(-1));
}

/** An index that is none picks the last branch, in TensorFlow as in XLA. */
const caseOp: Translate = (t) => {
  const taken = takenBranch(t, t.op);
  if (taken) return t.around.inlined(taken, []);
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
