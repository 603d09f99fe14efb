import { type DType, DTYPES } from "@shardserve/tensor";

/** A declared input or output of {@link opModel}; -1 in a shape = any size. */
export interface OpValue {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** An attribute of an ONNX operator: ints, floats and their lists, and text. */
export type OpAttribute = number | string | readonly number[];

/**
 * A model of one operator, for using ONNX Runtime's kernels as a library (Gather, Transpose, Cast). Inputs and outputs
 * are named in0, in1 ... and out0 ... Numbers become int attributes.
 *
 * Field numbers from onnx.proto (opset 20, IR 9: the oldest pair that every supported library runs).
 */
export function opModel(
  op: string,
  inputs: readonly OpValue[],
  outputs: readonly OpValue[],
  attributes: Readonly<Record<string, OpAttribute>> = {},
): Uint8Array {
  const names = (prefix: string, values: readonly OpValue[]) => values.map((_, i) => `${prefix}${i}`);
  const node = message(
    ...names("in", inputs).map((name) => text(1, name)),
    ...names("out", outputs).map((name) => text(2, name)),
    text(4, op),
    ...Object.entries(attributes).map(([name, value]) => bytes(5, attribute(name, value))),
  );
  const graph = message(
    bytes(1, node),
    text(2, op),
    ...inputs.map((value, i) => bytes(11, valueInfo(`in${i}`, value))),
    ...outputs.map((value, i) => bytes(12, valueInfo(`out${i}`, value))),
  );
  return message(varint(1, 9), bytes(7, graph), bytes(8, message(text(1, ""), varint(2, 20))));
}

function attribute(name: string, value: OpAttribute): Uint8Array {
  if (typeof value === "number") return message(text(1, name), varint(3, value), varint(20, 2));
  if (typeof value === "string") return message(text(1, name), text(4, value), varint(20, 3));
  return message(text(1, name), ...value.map((entry) => varint(8, entry)), varint(20, 7));
}

function valueInfo(name: string, { dtype, shape }: OpValue): Uint8Array {
  const dims = shape.map((size, i) => bytes(1, size < 0 ? message(text(2, `${name}_${i}`)) : message(varint(1, size))));
  const tensorType = message(varint(1, DTYPES[dtype].onnx), bytes(2, message(...dims)));
  return message(text(1, name), bytes(2, message(bytes(1, tensorType))));
}

function message(...fields: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(fields));
}

function varint(field: number, value: number): Uint8Array {
  return new Uint8Array([...varintBytes(field << 3), ...varintBytes(value)]);
}

function bytes(field: number, value: Uint8Array): Uint8Array {
  return message(new Uint8Array([...varintBytes((field << 3) | 2), ...varintBytes(value.length)]), value);
}

function text(field: number, value: string): Uint8Array {
  return bytes(field, new TextEncoder().encode(value));
}

/** Base-128 varint of a non-negative safe integer. */
function varintBytes(value: number): number[] {
  const result: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    result.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  result.push(rest);
  return result;
}
