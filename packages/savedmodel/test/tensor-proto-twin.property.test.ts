import assert from "node:assert/strict";
import { create, fromBinary, TensorProtoSchema, TensorShapeProtoSchema, toBinary } from "@shardserve/api";
import {
  bytesOf,
  dataFromBytes,
  decodeTensorProto,
  type DType,
  elementCount,
  encodeTensorProto,
  type NumericDType,
  type StringColumn,
  strings,
  tensor,
} from "@shardserve/tensor";
import fc from "fast-check";

const int = (min: number, max: number) => fc.array(fc.integer({ min, max }), { maxLength: 8 });
const dims = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 3 });
const shapeOf = (shape: readonly number[]) =>
  create(TensorShapeProtoSchema, { dim: shape.map((size) => ({ size: BigInt(size) })) });

/** Short, exact and long value lists for a shape: the slow twin fills element by element. */
function expected<T>(values: readonly T[], count: number, zero: T): T[] {
  return Array.from({ length: count }, (_, i) =>
    values.length === 0 ? zero : values[Math.min(i, values.length - 1)]!,
  );
}

describe("the TensorProto codec beside generated code", () => {
  it("reads what protobuf writes", () => {
    fc.assert(
      fc.property(
        dims,
        int(-(2 ** 31), 2 ** 31 - 1),
        fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { maxLength: 8 }),
        fc.array(fc.uint8Array({ maxLength: 9 }), { maxLength: 8 }),
        (shape, ints, longs, texts) => {
          const count = elementCount(shape);
          const decode = (init: object) =>
            decodeTensorProto(
              toBinary(TensorProtoSchema, create(TensorProtoSchema, { ...init, tensorShape: shapeOf(shape) })),
            ).data;
          assert.deepEqual(decode({ dtype: 3, intVal: ints }), Int32Array.from(expected(ints, count, 0)));
          assert.deepEqual(decode({ dtype: 5, intVal: ints }), Int16Array.from(expected(ints, count, 0)));
          assert.deepEqual(
            decode({ dtype: 10, boolVal: ints.map((value) => value > 0) }),
            Uint8Array.from(
              expected(
                ints.map((value) => (value > 0 ? 1 : 0)),
                count,
                0,
              ),
            ),
          );
          assert.deepEqual(decode({ dtype: 9, int64Val: longs }), BigInt64Array.from(expected(longs, count, 0n)));
          assert.deepEqual(decode({ dtype: 2, doubleVal: ints }), Float64Array.from(expected(ints, count, 0)));
          const column = decode({ dtype: 7, stringVal: texts }) as StringColumn;
          assert.deepEqual(
            Array.from({ length: column.length }, (_, i) => column.at(i)),
            expected(texts, count, new Uint8Array()),
          );
        },
      ),
    );
  });

  it("writes what protobuf writes", () => {
    const dtypes: [NumericDType, number][] = [
      ["float32", 1],
      ["float64", 2],
      ["int32", 3],
      ["uint8", 4],
      ["int64", 9],
      ["bool", 10],
      ["float16", 19],
      ["uint32", 22],
      ["uint64", 23],
    ];
    fc.assert(
      fc.property(fc.constantFrom(...dtypes), fc.uint8Array({ minLength: 1, maxLength: 16 }), ([dtype, tf], raw) => {
        const bytes = new Uint8Array(16 * 4).map((_, i) =>
          dtype === "bool" ? raw[i % raw.length]! & 1 : raw[i % raw.length]!,
        );
        const data = dataFromBytes(dtype as DType as NumericDType, bytes);
        // Generated code reads numbers, and JavaScript quiets a signalling NaN on the way; ours copies the bits.
        fc.pre(!(data instanceof Float32Array || data instanceof Float64Array) || !data.some(Number.isNaN));
        const value = tensor<NumericDType>(dtype, [data.length], data);
        const proto = fromBinary(TensorProtoSchema, encodeTensorProto(value));
        assert.equal(proto.dtype, tf);
        assert.deepEqual(toBinary(TensorProtoSchema, proto), encodeTensorProto(value));
        const content = fromBinary(TensorProtoSchema, encodeTensorProto(value, { asContent: true }));
        assert.deepEqual(content.tensorContent, bytesOf(data));
      }),
    );
    const column = strings([2], ["a", Uint8Array.of(0, 255)]);
    assert.deepEqual(fromBinary(TensorProtoSchema, encodeTensorProto(column)).stringVal, [
      Uint8Array.of(97),
      Uint8Array.of(0, 255),
    ]);
  });
});
