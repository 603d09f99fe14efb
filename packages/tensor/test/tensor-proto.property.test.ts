import assert from "node:assert/strict";
import fc from "fast-check";
import {
  bytesOf,
  dataFromBytes,
  decodeTensorProto,
  DTYPES,
  elementCount,
  encodeTensorProto,
  isNumeric,
  type NumericData,
  type NumericDType,
  type StringColumn,
  strings,
  type Tensor,
  tensor,
} from "../src/index.js";

const numericDTypes = (Object.keys(DTYPES) as (keyof typeof DTYPES)[]).filter(isNumeric);
const shapes = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 });

const numericTensors = fc.tuple(fc.constantFrom(...numericDTypes), shapes).chain(([dtype, shape]) => {
  const byteCount = elementCount(shape) * DTYPES[dtype].bytes;
  return fc
    .uint8Array({ minLength: byteCount, maxLength: byteCount })
    .map(
      (bytes): Tensor =>
        tensor<NumericDType>(dtype, shape, dataFromBytes(dtype, dtype === "bool" ? bytes.map((b) => b & 1) : bytes)),
    );
});
const stringTensors = shapes.chain((shape) =>
  fc
    .array(fc.uint8Array({ maxLength: 300 }), { minLength: elementCount(shape), maxLength: elementCount(shape) })
    .map((values): Tensor => strings(shape, values)),
);

describe("TensorProto round trip", () => {
  it("gives back every tensor, bit by bit, in both encodings", () => {
    fc.assert(
      fc.property(fc.oneof(numericTensors, stringTensors), fc.boolean(), (value, asContent) => {
        const back = decodeTensorProto(encodeTensorProto(value, { asContent }));
        assert.equal(back.dtype, value.dtype);
        assert.deepEqual(back.shape, value.shape);
        assert.deepEqual(contentOf(back), contentOf(value));
      }),
      { numRuns: 500 },
    );
  });
});

/** NaN payloads must survive, so bytes are compared and not numbers. */
function contentOf(value: Tensor): unknown {
  if (value.dtype !== "string") return Buffer.from(bytesOf(value.data as NumericData)).toString("hex");
  const column = value.data as StringColumn;
  return Array.from({ length: column.length }, (_, i) => Buffer.from(column.at(i)).toString("hex"));
}
