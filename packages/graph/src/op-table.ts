import { createRequire } from "node:module";
import { type DType, dtypeFromTf } from "@shardserve/tensor";

/** One input or output argument of an op; it stands for one value, `number_attr` values or a list of typed values. */
export interface ArgDef {
  readonly name: string;
  /** The argument's fixed dtype, when no attribute gives it. */
  readonly dtype?: DType;
  /** Attribute that holds the dtype. */
  readonly typeAttr?: string;
  /** Attribute that holds the list of dtypes, one value each. */
  readonly typeListAttr?: string;
  /** Attribute that holds the number of values. */
  readonly numberAttr?: string;
  /** A TF1 reference: the kernel may change the value in place. */
  readonly isRef: boolean;
}

/** A default as op-table.json holds it: text for strings, numbers for types, arrays for lists and shapes, null = unknown rank. */
export type AttrDefault = number | string | boolean | null | readonly AttrDefault[];

/** An op of TensorFlow's registry, from the op table that is shipped (SavedModels are stored without defaults). */
export interface OpDef {
  readonly name: string;
  readonly inputs: readonly ArgDef[];
  readonly outputs: readonly ArgDef[];
  /** Attribute name -> its type as TensorFlow spells it: "int", "list(type)", ... */
  readonly attrTypes: ReadonlyMap<string, string>;
  readonly defaults: ReadonlyMap<string, AttrDefault>;
  /** TensorFlow's is_stateful: never folded, never merged. TF1 assignments to references are not marked. */
  readonly isStateful: boolean;
}

type RawOp = [string[], string[], [string, string, AttrDefault?][], number];

// Not `import ... with { type: "json" }`: Node 20 warns that JSON modules are experimental.
const load = createRequire(import.meta.url) as (file: string) => Record<string, RawOp>;
/** TensorFlow's own, and those of the libraries that TensorFlow Serving links. No name is in two of them. */
const raw = { ...load("./op-table.json"), ...load("./op-table-text.json"), ...load("./op-table-forests.json") };
const cache = new Map<string, OpDef>();

/**
 * The definition of an op of TensorFlow, TensorFlow Text or TensorFlow Decision Forests, undefined for other custom ops and function
 * names. The tables are generated from them by scripts/make_op_table.py.
 */
export function opDef(op: string): OpDef | undefined {
  const known = cache.get(op);
  if (known) return known;
  const entry = Object.hasOwn(raw, op) ? raw[op] : undefined;
  if (!entry) return undefined;
  const [inputs, outputs, attrs, isStateful] = entry;
  const def: OpDef = {
    name: op,
    inputs: inputs.map(parseArg),
    outputs: outputs.map(parseArg),
    attrTypes: new Map(attrs.map(([name, type]) => [name, type])),
    defaults: new Map(attrs.flatMap(([name, , value]) => (value === undefined ? [] : [[name, value] as const]))),
    isStateful: isStateful === 1,
  };
  cache.set(op, def);
  return def;
}

/** "values:@T#N&": name, DataType number or @type_attr or *type_list_attr, #number_attr, & for a reference. */
function parseArg(text: string): ArgDef {
  const match = /^([^:]+):([@*]?)([^#&]+)(?:#([^&]+))?(&?)$/.exec(text)!;
  const [, name, sigil, type, numberAttr, ref] = match;
  return {
    name: name!,
    isRef: ref === "&",
    ...(sigil === "@" ? { typeAttr: type! } : sigil === "*" ? { typeListAttr: type! } : fixedType(Number(type))),
    ...(numberAttr ? { numberAttr } : {}),
  };
}

/** Types that this project does not name (8-bit floats ...) leave the dtype open. */
function fixedType(tf: number): { dtype?: DType } {
  try {
    return { dtype: dtypeFromTf(tf) };
  } catch {
    return {};
  }
}
