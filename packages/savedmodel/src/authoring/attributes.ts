import { type AttrValue, AttrValueSchema, create, type MessageInitShape } from "@shardserve/api";
import { type DType, DTYPES, encodeTensorProto, type Tensor } from "@shardserve/tensor";

type AttrInit = MessageInitShape<typeof AttrValueSchema>;

/** Attribute values of a NodeDef by kind; -1 in a shape is an unknown dimension. */
export const attr = {
  type: (dtype: DType): AttrValue => of({ value: { case: "type", value: DTYPES[dtype].tf } }),
  types: (dtypes: readonly DType[]): AttrValue =>
    of({ value: { case: "list", value: { type: dtypes.map((dtype) => DTYPES[dtype].tf) } } }),
  ints: (values: readonly number[]): AttrValue => of({ value: { case: "list", value: { i: values.map(BigInt) } } }),
  func: (name: string): AttrValue => of({ value: { case: "func", value: { name } } }),
  funcs: (names: readonly string[]): AttrValue =>
    of({ value: { case: "list", value: { func: names.map((name) => ({ name })) } } }),
  int: (value: number): AttrValue => of({ value: { case: "i", value: BigInt(value) } }),
  float: (value: number): AttrValue => of({ value: { case: "f", value } }),
  bool: (value: boolean): AttrValue => of({ value: { case: "b", value } }),
  text: (value: string): AttrValue => of({ value: { case: "s", value: Buffer.from(value) } }),
  shape: (shape: readonly number[]): AttrValue => of({ value: { case: "shape", value: shapeProto(shape) } }),
  tensor: (value: Tensor): AttrValue => of({ value: { case: "tensor", value: encodeTensorProto(value) } }),
};

/** A TensorShapeProto initialiser. */
export function shapeProto(shape: readonly number[]): { dim: { size: bigint }[] } {
  return { dim: shape.map((size) => ({ size: BigInt(size) })) };
}

function of(init: AttrInit): AttrValue {
  return create(AttrValueSchema, init);
}
