import { inflateSync } from "node:zlib";
import { invariant } from "@shardserve/core";
import {
  dataFromBytes,
  type DType,
  dtypeFromTf,
  elementCount,
  isNumeric,
  lanesPerElement,
  newData,
  StringColumn,
  type Tensor,
  tensor,
} from "@shardserve/tensor";

/**
 * A tensor in the golden files of single ops (scripts/make_op_goldens.py, make_lowering_goldens.py, make_op_conformance.py).
 * Values stand in one of three forms; 16-bit floats as bit patterns, complex numbers as pairs.
 */
export interface OpGoldenTensor {
  /** Name, or number of TensorFlow's DataType. */
  readonly d: DType | number;
  readonly s: readonly number[];
  /** Strings as latin-1 texts of their bytes; numbers that JSON lacks as texts. */
  readonly v?: readonly (number | string)[];
  /** Base64 of every string, or of the bytes of all numbers. */
  readonly b?: string | readonly string[];
  /** Base64 of the zipped bytes of all numbers. */
  readonly z?: string;
}

/** As the graph package holds attributes. */
export type OpGoldenAttr = bigint | number | boolean | string | Uint8Array | null | readonly OpGoldenAttr[];

/** The tensor that a golden file states. */
export function opGoldenTensor({ d, s, v = [], b, z }: OpGoldenTensor): Tensor {
  const dtype = typeof d === "number" ? dtypeFromTf(d) : d;
  const texts = typeof b === "string" ? [b] : b;
  if (dtype === "string") {
    const values = texts ? texts.map((text) => fromBase64(text)) : v.map((text) => Buffer.from(String(text), "latin1"));
    return tensor("string", s, StringColumn.from(values));
  }
  invariant(isNumeric(dtype), () => `a golden tensor of ${dtype}`);
  if (z !== undefined) return tensor(dtype, s, dataFromBytes(dtype, inflateSync(fromBase64(z))) as never);
  if (texts) return tensor(dtype, s, dataFromBytes(dtype, fromBase64(texts[0]!)) as never);
  invariant(v.length === elementCount(s) * lanesPerElement(dtype), () => `${v.length} values for [${s.join()}]`);
  const data = newData(dtype, v.length);
  const isWide = dtype === "int64" || dtype === "uint64";
  v.forEach((value, i) => {
    (data as unknown as (number | bigint)[])[i] = isWide ? BigInt(value) : Number(value);
  });
  return tensor(dtype, s, data as never);
}

/** An attribute: {kind: value}, or the plain value. */
export function opGoldenAttr(json: unknown): OpGoldenAttr {
  if (json === null || typeof json !== "object" || Array.isArray(json)) return json as OpGoldenAttr;
  const [kind, value] = Object.entries(json)[0]!;
  switch (kind) {
    case "s":
      return Buffer.from(value as string, "latin1");
    case "z":
      return inflateSync(fromBase64(value as string));
    case "i":
      return BigInt(value as string);
    case "f":
      return Number(value);
    case "list": {
      const [of, values] = Object.entries(value as Record<string, unknown[]>)[0] ?? ["i", []];
      return values.map((entry) => opGoldenAttr({ [of]: entry }));
    }
    default:
      return value as OpGoldenAttr;
  }
}

/** Its own bytes: views of other widths need them aligned. */
function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "base64"));
}
