import type { HloAttr } from "@shardserve/savedmodel";
import { attr } from "@shardserve/savedmodel";
import type { Ref } from "./function-builder.js";
import { invoke } from "./control.js";
import { LAPACK } from "./linear-algebra.js";
import { firstInOrder } from "./sorting.js";
import type { OpTranslation, Translate } from "./translation.js";
import { calledComputation, dynamicReduceWindow } from "./windows.js";

/** Ops that name something outside of StableHLO: what exporters leave of other dialects, and what they say to compilers. */

const customCall: Translate = (t) => {
  const target = t.attrs.text("call_target_name");
  const translate = Object.hasOwn(TARGETS, target) ? TARGETS[target]! : undefined;
  return translate ? translate(t) : t.fail(`the custom call "${target}" is not supported`);
};

/** The attributes of an op of another dialect that a custom call or a composite stands for. */
function innerInt(t: OpTranslation, dictionary: string, name: string): number {
  const outer = t.attrs.get(dictionary);
  const inner: HloAttr | undefined = outer?.kind === "dictionary" ? outer.entries.get(name) : undefined;
  return inner?.kind === "integer" ? Number(inner.value) : t.fail(`"${name}" is not in ${dictionary}`);
}

/** The largest along the last dimension; of equal ones the first, and NaN, as XLA has it, before all but infinity. */
function topK(t: OpTranslation, k: number): Ref[] {
  const [x, size] = [t.in(0), t.b.scalar("int32", k)];
  const asIndices = (indices: Ref): Ref => t.b.cast(indices, t.resultDType(1));
  if (!x.dtype.includes("float")) {
    const [values, indices] = t.b.emitAll("TopKV2", [x, size]);
    return [values!, asIndices(indices!)];
  }
  const key = t.select(t.emit("IsNan", [x]), t.b.scalar(x.dtype, Number.POSITIVE_INFINITY), x);
  const indices = t.b.emitAll("TopKV2", [key, size])[1]!;
  const batchDims = { batch_dims: attr.int(t.rank(0) - 1) };
  return [t.emit("GatherV2", [x, indices, t.b.scalar("int32", -1)], batchDims), asIndices(indices)];
}

/** The best along a dimension, by a comparator. Exact here, which is the best that an approximation can be. */
const approxTopK: Translate = (t) => {
  const [axis, k] = ["reduction_dim", "top_k"].map((name) => innerInt(t, "mhlo.backend_config", name));
  return firstInOrder(t, calledComputation(t), t.op.results.length, axis!, t.b.scalar("int32", k!));
};

/** What must hold of the sizes of the inputs; jax2tf says it once for a model. Its message counts the operands behind the condition. */
const shapeAssertion: Translate = (t) => {
  const message = t.attrs.get("error_message");
  const text = message?.kind === "string" ? message.value : "the shapes of the inputs do not fit";
  const parts = text
    .split(/\{(\d+)(?::[^}]*)?\}/)
    .map((part, i) => (i % 2 === 0 ? t.b.text(part) : t.in(Number(part) + 1)));
  t.b.effect("Assert", [t.in(0), ...parts], { summarize: attr.int(3) });
  return [];
};

/** A TensorFlow function, by its number in the op's function_list (jax2tf.call_tf). */
const callTensorFlow: Translate = (t) => {
  const name = t.around.hostFunction(innerInt(t, "tf.backend_config", "called_index"));
  const results = t.op.results.map((_, i) => t.resultDType(i));
  return t.b.emitAll("StatefulPartitionedCall", t.ins(), { f: attr.func(name), Tout: attr.types(results) });
};

function unary(op: string): Translate {
  return (t) => [t.emit(op, [t.in(0)])];
}

const same: Translate = (t) => t.op.operands.map((value) => t.around.translated(value));

const TARGETS: Readonly<Record<string, Translate>> = {
  ...LAPACK,
  ApproxTopK: approxTopK,
  Sharding: same,
  SPMDFullToShardShape: same,
  SPMDShardToFullShape: same,
  "xla.sdy.FuncResultSharding": same,
  "mhlo.topk": (t) => topK(t, innerInt(t, "mhlo.attributes", "k")),
  "mhlo.erf": unary("Erf"),
  "mhlo.tan": unary("Tan"),
  "mhlo.sinh": unary("Sinh"),
  "mhlo.cosh": unary("Cosh"),
  "mhlo.asin": unary("Asin"),
  "mhlo.acos": unary("Acos"),
  "mhlo.acosh": unary("Acosh"),
  "mhlo.asinh": unary("Asinh"),
  "mhlo.atanh": unary("Atanh"),
  shape_assertion: shapeAssertion,
  "stablehlo.dynamic_reduce_window": dynamicReduceWindow,
  "tf.call_tf_function": callTensorFlow,
};

/** Composites that TensorFlow has an op for; the others are what their decomposition says. */
const COMPOSITES: Readonly<Record<string, Translate>> = {
  "chlo.top_k": (t) => topK(t, innerInt(t, "composite_attributes", "k")),
  "chlo.erf": unary("Erf"),
  "chlo.erfc": unary("Erfc"),
  "chlo.erf_inv": unary("Erfinv"),
  "chlo.lgamma": unary("Lgamma"),
  "chlo.digamma": unary("Digamma"),
  "chlo.sinh": unary("Sinh"),
  "chlo.cosh": unary("Cosh"),
  "chlo.asin": unary("Asin"),
  "chlo.acos": unary("Acos"),
  "chlo.atan": unary("Atan"),
  "chlo.acosh": unary("Acosh"),
  "chlo.asinh": unary("Asinh"),
  "chlo.atanh": unary("Atanh"),
};

const composite: Translate = (t) => {
  const name = t.attrs.text("name");
  const known = Object.hasOwn(COMPOSITES, name) ? COMPOSITES[name]! : undefined;
  return known ? known(t) : invoke(t, t.attrs.text("decomposition"));
};

export const CUSTOM: Readonly<Record<string, Translate>> = { composite, custom_call: customCall };
