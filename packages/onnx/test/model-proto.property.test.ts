import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { fromBinary, onnx } from "@shardserve/api";
import { encodeModel, type OnnxGraph } from "@shardserve/onnx";
import fc from "fast-check";

const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const attr = fc.oneof(
  int64,
  fc.maxSafeInteger(),
  fc.string(),
  fc.array(int64, { minLength: 1 }),
  fc.record({ float: fc.float({ noNaN: true }) }),
);
const value = fc.record({
  name: fc.string(),
  dtype: fc.constantFrom("float32", "int64", "bool"),
  shape: fc.option(fc.array(fc.integer({ min: -1, max: 1000 })), { nil: undefined }),
});
const initializer = fc.record({
  name: fc.string({ minLength: 1 }),
  dtype: fc.constantFrom("float32", "uint8"),
  shape: fc.array(fc.nat(9)),
  data: fc.oneof(
    fc.uint8Array(),
    // Where the length of the message takes one more byte.
    fc.constantFrom(120, 128, 16_376, 16_384, 2 ** 21).map((length) => new Uint8Array(length).fill(length)),
    fc.record({ kind: fc.constant("file"), location: fc.string(), offset: fc.maxSafeNat(), length: fc.maxSafeNat() }),
  ),
});
const graph = fc.record({
  nodes: fc.array(
    fc.record({
      name: fc.string(),
      op: fc.string(),
      domain: fc.constantFrom("", "com.microsoft"),
      inputs: fc.array(fc.string()),
      outputs: fc.array(fc.string()),
      attrs: fc.dictionary(fc.string(), attr, { noNullPrototype: true }),
    }),
  ),
  initializers: fc.array(initializer),
  inputs: fc.array(value),
  outputs: fc.array(value),
}) as fc.Arbitrary<OnnxGraph>;

describe("encodeModel", () => {
  it("writes what protobuf's own decoder reads back", () => {
    fc.assert(
      fc.property(graph, (source) => {
        const model = fromBinary(onnx.ModelProtoSchema, runAtOnce(encodeModel(source)));
        assert.equal(model.irVersion, 9n);
        const decoded = model.graph!;
        assert.deepEqual(
          decoded.node.map(({ name, opType, domain, input, output }) => ({ name, opType, domain, input, output })),
          source.nodes.map(({ name, op, domain, inputs, outputs }) => ({
            name,
            opType: op,
            domain,
            input: inputs,
            output: outputs,
          })),
        );
        for (const [i, node] of source.nodes.entries()) {
          for (const [k, [name, expected]] of Object.entries(node.attrs).entries()) {
            const actual = decoded.node[i]!.attribute[k]!;
            assert.equal(actual.name, name);
            if (typeof expected === "bigint" || typeof expected === "number") assert.equal(actual.i, BigInt(expected));
            else if (typeof expected === "string") assert.equal(Buffer.from(actual.s ?? []).toString(), expected);
            else if ("float" in expected) assert.equal(actual.f, expected.float);
            else if (Array.isArray(expected)) assert.deepEqual(actual.ints, expected);
          }
        }
        for (const [i, expected] of source.initializers.entries()) {
          const actual = decoded.initializer[i]!;
          assert.deepEqual(actual.dims.map(Number), expected.shape);
          if (expected.data instanceof Uint8Array)
            assert.deepEqual(Buffer.from(actual.rawData ?? []), Buffer.from(expected.data));
          else {
            const entries = Object.fromEntries(actual.externalData.map((entry) => [entry.key, entry.value]));
            const { location, offset, length } = expected.data;
            assert.deepEqual(entries, { location, offset: String(offset), length: String(length) });
          }
        }
        for (const [i, expected] of [...source.inputs, ...source.outputs].entries()) {
          const actual = [...decoded.input, ...decoded.output][i]!;
          const type = actual.type!.value;
          assert.equal(actual.name, expected.name);
          assert.ok(type.case === "tensorType");
          const dims = type.value.shape?.dim.map(({ value: dim }) =>
            dim.case === "dimValue" ? Number(dim.value) : -1,
          );
          assert.deepEqual(dims, expected.shape === undefined ? undefined : [...expected.shape]);
        }
      }),
    );
  });
});
