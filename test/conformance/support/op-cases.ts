import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Attrs, opDef } from "@shardserve/graph";
import { opGoldenAttr, type OpGoldenTensor, opGoldenTensor, REPO_DIR } from "@shardserve/testkit";
import type { Tensor } from "@shardserve/tensor";

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

interface RawTensor extends OpGoldenTensor {
  /** A constant of the graph. */
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
    inputs: inputs.map(opGoldenTensor),
    constants: raw.in && inputs.some(({ d }) => typeof d === "number") ? inputs.map(({ c }) => c === 1) : undefined,
    outputs: outputs?.map(opGoldenTensor),
    promised: raw.only,
    error: raw.error === 1 ? "ANY" : raw.error,
    tolerance: raw.tolerance,
  };
}

function attrsOf({ op, attrs }: RawCase): Attrs {
  const known = opDef(op)?.attrTypes;
  const entries = Object.entries(attrs).filter(([name]) => known === undefined || known.has(name));
  return new Attrs(op, Object.fromEntries(entries.map(([name, value]) => [name, opGoldenAttr(value)])));
}
