import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { inflateSync } from "node:zlib";
import { Attrs, type AttrValue, opDef } from "@shardserve/graph";
import { REPO_DIR } from "@shardserve/testkit";
import {
  dataFromBytes,
  type DType,
  dtypeFromTf,
  isNumeric,
  newData,
  type NumericDType,
  StringColumn,
  type Tensor,
  tensor,
} from "@shardserve/tensor";

/** One run of one op by TensorFlow: what goes in, and what came out or the code of the error ("ANY" where no code is recorded). */
export interface OpCase {
  readonly op: string;
  readonly label: string;
  /** Whose golden it is: of the packages' own suites, or derived from those. */
  readonly source: "host-ops" | "onnx" | "derived";
  readonly attrs: Attrs;
  readonly inputs: readonly Tensor[];
  /** Inputs that are constants of the graph; undefined where the golden does not say. */
  readonly constants: readonly boolean[] | undefined;
  readonly outputs: readonly Tensor[] | undefined;
  /** Of `outputs`, those whose values are promised. */
  readonly promised: readonly number[] | undefined;
  readonly error: string | undefined;
  /** Relative, where TensorFlow's own answer is no better. */
  readonly tolerance: number | undefined;
}

interface RawTensor {
  readonly d: DType | number;
  readonly s: readonly number[];
  readonly v?: readonly (number | string)[];
  readonly b?: string | readonly string[];
  readonly z?: string;
  readonly c?: 1;
}

interface RawCase {
  readonly op: string;
  readonly attrs: Readonly<Record<string, unknown>>;
  readonly inputs?: readonly (RawTensor | { readonly step: number })[];
  readonly in?: readonly RawTensor[];
  readonly outputs?: readonly RawTensor[];
  readonly out?: readonly RawTensor[];
  readonly steps?: readonly RawCase[];
  readonly only?: readonly number[];
  readonly error?: string | 1;
  readonly tolerance?: number;
}

const DIRS = [
  ["host-ops", "packages/host-ops/test/goldens"],
  ["onnx", "packages/onnx/test/goldens"],
  ["derived", "test/conformance/goldens"],
] as const;

/** All cases of single ops that the committed scripts made; programs of several steps only as the names of their ops. */
export function readOpCases(): { readonly cases: readonly OpCase[]; readonly inPrograms: ReadonlySet<string> } {
  const cases: OpCase[] = [];
  const inPrograms = new Set<string>();
  for (const [source, dir] of DIRS) {
    for (const file of readdirSync(join(REPO_DIR, dir)).sort()) {
      const raw = JSON.parse(readFileSync(join(REPO_DIR, dir, file), "utf8")) as RawCase[];
      for (const [i, item] of raw.entries()) {
        if (item.steps) for (const { op } of item.steps) inPrograms.add(op);
        else cases.push(opCase(item, source, `${item.op} (${file.replace(/\.json$/, "")}[${i}])`));
      }
    }
  }
  return { cases, inPrograms };
}

function opCase(raw: RawCase, source: OpCase["source"], label: string): OpCase {
  const inputs = (raw.inputs ?? raw.in) as readonly RawTensor[];
  const outputs = raw.outputs ?? raw.out;
  return {
    op: raw.op,
    label,
    source,
    attrs: attrsOf(raw),
    inputs: inputs.map(decode),
    constants: raw.in && inputs.some(({ d }) => typeof d === "number") ? inputs.map(({ c }) => c === 1) : undefined,
    outputs: outputs?.map(decode),
    promised: raw.only,
    error: raw.error === 1 ? "ANY" : raw.error,
    tolerance: raw.tolerance,
  };
}

function attrsOf({ op, attrs }: RawCase): Attrs {
  const known = opDef(op)?.attrTypes;
  const entries = Object.entries(attrs).filter(([name]) => known === undefined || known.has(name));
  return new Attrs(op, Object.fromEntries(entries.map(([name, value]) => [name, attrOf(value)])));
}

/** An attribute of either kind of golden: {kind: value}, or the plain value. */
function attrOf(json: unknown): AttrValue {
  if (json === null || typeof json !== "object" || Array.isArray(json)) return json as AttrValue;
  const [kind, value] = Object.entries(json)[0]!;
  switch (kind) {
    case "s":
      return Buffer.from(value as string, "latin1");
    case "i":
      return BigInt(value as string);
    case "f":
      return Number(value);
    case "list": {
      const [of, values] = Object.entries(value as Record<string, unknown[]>)[0] ?? ["i", []];
      return values.map((entry) => attrOf({ [of]: entry }));
    }
    default:
      return value as AttrValue;
  }
}

function decode({ d, s, v = [], b, z }: RawTensor): Tensor {
  if (typeof d === "number") {
    const dtype = dtypeFromTf(d) as NumericDType;
    return tensor(dtype, s, dataFromBytes(dtype, Uint8Array.from(Buffer.from(b as string, "base64"))) as never);
  }
  if (d === "string") {
    const texts = b
      ? (b as readonly string[]).map((text) => Buffer.from(text, "base64"))
      : v.map((text) => Buffer.from(String(text), "latin1"));
    return tensor("string", s, StringColumn.from(texts));
  }
  if (!isNumeric(d)) throw new Error(`a golden tensor of ${d}`);
  if (z !== undefined) return tensor(d, s, dataFromBytes(d, inflateSync(Buffer.from(z, "base64"))) as never);
  if (b) return tensor(d, s, dataFromBytes(d, Uint8Array.from(Buffer.from(b[0]!, "base64"))) as never);
  const data = newData(d, v.length);
  const isWide = d === "int64" || d === "uint64";
  v.forEach((value, i) => {
    (data as unknown as (number | bigint)[])[i] = isWide ? BigInt(value) : Number(value);
  });
  return tensor(d, s, data as never);
}
