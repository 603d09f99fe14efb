import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { isServingError } from "@shardserve/core";
import { decodeTensorProto, dtypeFromTf, encodeTensorProto, lanesOf, scalar, strings, tensor } from "../src/index.js";

const shared = process.env["SHARDSERVE_SHARED"] ?? fileURLToPath(new URL("../../../../../shared", import.meta.url));
const golden = `${shared}/savedmodels/tf-serving/samples/tensorproto_fromproto.golden.json`;

interface GoldenCase {
  readonly name: string;
  readonly tensor_proto_b64: string;
  readonly dtype: number;
  readonly ok: boolean;
  readonly shape?: number[];
  readonly values?: (number | string | boolean)[];
  readonly values_encoding?: string;
}

describe("decodeTensorProto", () => {
  it("reads what TensorFlow reads, and refuses what it refuses", function () {
    if (!existsSync(golden)) {
      console.log(`skipped: ${golden} is absent`);
      return this.skip();
    }
    const { cases } = JSON.parse(readFileSync(golden, "utf8")) as { cases: GoldenCase[] };
    assert.ok(cases.length > 20);
    for (const golden of cases) {
      const bytes = Buffer.from(golden.tensor_proto_b64, "base64");
      if (!golden.ok) {
        assert.throws(() => decodeTensorProto(bytes), isServingError, golden.name);
        continue;
      }
      const value = decodeTensorProto(bytes);
      assert.equal(value.dtype, dtypeFromTf(golden.dtype), golden.name);
      assert.deepEqual(value.shape, golden.shape, golden.name);
      assert.deepEqual(asGolden(bytes), golden.values, golden.name);
    }
  });

  it("takes values as they lie: unpacked, in several chunks, before the dtype", () => {
    const unpacked = [0x2d, 0, 0, 0x80, 0x3f, 0x2d, 0, 0, 0, 0x40]; // float_val: 1, float_val: 2
    const packed = [0x2a, 4, 0, 0, 0x40, 0x40]; // float_val: [3]
    const value = decodeTensorProto(Uint8Array.from([...unpacked, ...packed, 0x12, 4, 0x12, 2, 8, 3, 8, 1]));
    assert.deepEqual(value, tensor("float32", [3], Float32Array.of(1, 2, 3)));
  });

  it("views packed floats where they are aligned, and copies them where not", () => {
    const encoded = encodeTensorProto(tensor("float32", [2], Float32Array.of(1, 2)));
    for (let offset = 0; offset < 4; offset++) {
      const memory = Buffer.alloc(encoded.length + 4); // Buffer.slice does not copy, which once broke the unaligned case
      memory.set(encoded, offset);
      const value = decodeTensorProto(memory.subarray(offset, offset + encoded.length));
      assert.deepEqual([...(value.data as Float32Array)], [1, 2]);
      const aligned = (memory.byteOffset + offset + encoded.length - 8) % 4 === 0;
      assert.equal((value.data as Float32Array).buffer === memory.buffer, aligned);
    }
  });

  it("bounds what a few bytes may ask for", () => {
    const billion = Uint8Array.from([8, 1, 0x12, 8, 0x12, 6, 8, 0x80, 0x94, 0xeb, 0xdc, 0x03]);
    assert.throws(
      () => decodeTensorProto(billion),
      (error) => isServingError(error, "RESOURCE_EXHAUSTED"),
    );
    const hundred = Uint8Array.from([8, 1, 0x12, 4, 0x12, 2, 8, 100]);
    assert.throws(() => decodeTensorProto(hundred, { splatBytesMax: 399 }), isServingError);
    assert.equal(decodeTensorProto(hundred, { splatBytesMax: 400 }).data.length, 100);
  });

  it("repeats the last complex number, both of its parts", () => {
    const two = [0x4a, 16, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0, 0x40, 0x40, 0, 0, 0x80, 0x40]; // scomplex_val: 1, 2, 3, 4
    const value = decodeTensorProto(Uint8Array.from([8, 8, 0x12, 4, 0x12, 2, 8, 4, ...two]));
    assert.deepEqual([...(value.data as Float32Array)], [1, 2, 3, 4, 3, 4, 3, 4]);
  });

  it("refuses a dimension that is negative or no number that JavaScript has", () => {
    const minusOne = [...Array.from({ length: 9 }, () => 0xff), 1];
    const tooLarge = [...Array.from({ length: 8 }, () => 0x80), 0x40];
    for (const size of [minusOne, tooLarge]) {
      const dim = [0x12, size.length + 1, 8, ...size];
      assert.throws(
        () => decodeTensorProto(Uint8Array.from([8, 1, 0x12, dim.length, ...dim])),
        /dimension 0 of a tensor is negative or too large/,
      );
    }
  });

  it("steps over fields that it does not know, in the shape as well", () => {
    const unknown = [0x7a, 2, 8, 9]; // field 15 of two bytes, which would be tags
    const dim = [0x12, 6, ...unknown, 8, 2];
    const shape = [...unknown, ...dim, ...unknown];
    const bytes = [...unknown, 8, 1, 0x12, shape.length, ...shape, 0x2a, 4, 0, 0, 0x40, 0x40];
    assert.deepEqual(decodeTensorProto(Uint8Array.from(bytes)), tensor("float32", [2], Float32Array.of(3, 3)));
  });

  it("refuses a dtype of no TensorFlow", () => {
    for (const dtype of [0, 101])
      assert.throws(() => decodeTensorProto(Uint8Array.of(8, dtype)), /a tensor of DataType/);
  });

  it("refuses dimensions whose product is not a number", () => {
    const huge = [0x12, 9, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
    const dims = Array.from({ length: 30 }, () => huge).flat();
    const shape = [...dims, 0x12, 0];
    const bytes = Uint8Array.from([8, 1, 0x12, 0x80 | (shape.length & 0x7f), shape.length >> 7, ...shape]);
    assert.throws(
      () => decodeTensorProto(bytes),
      (error) => isServingError(error, "INVALID_ARGUMENT"),
    );
  });

  it("keeps 64-bit integers exact", () => {
    const values = BigInt64Array.of(0n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 32n, 2n ** 31n, 127n, 128n, -129n);
    for (const asContent of [false, true]) {
      const value = decodeTensorProto(encodeTensorProto(tensor("int64", [9], values), { asContent }));
      assert.deepEqual(value.data, values);
    }
    assert.equal(lanesOf(values)[3], -1);
  });
});

describe("encodeTensorProto", () => {
  it("writes the bytes that TensorFlow writes", () => {
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
    assert.equal(hex(encodeTensorProto(scalar("float32", 5))), "080112002a040000a040");
    assert.equal(hex(encodeTensorProto(scalar("int32", -1))), "080312003a0affffffffffffffffff01");
    assert.equal(hex(encodeTensorProto(strings([2], ["a", "bc"]))), "080712041202080242016142026263");
    assert.equal(
      hex(encodeTensorProto(strings([2], ["a", "bc"]), { asContent: true })),
      "080712041202080222050102616263",
    );
    assert.equal(
      hex(encodeTensorProto(tensor("uint64", [1], BigUint64Array.of(2n ** 64n - 1n)))),
      "08171204120208018a010affffffffffffffffff01",
    );
    assert.equal(hex(encodeTensorProto(tensor("int64", [0, 3], new BigInt64Array()))), "08091206120012020803");
  });
});

function asGolden(bytes: Uint8Array): (number | string | boolean)[] {
  const value = decodeTensorProto(bytes);
  switch (value.dtype) {
    case "string": {
      const column = (value as ReturnType<typeof strings>).data;
      return Array.from({ length: column.length }, (_, i) => Buffer.from(column.at(i)).toString("base64"));
    }
    case "bool":
      return Array.from(value.data as Uint8Array, (byte) => byte === 1);
    case "uint64":
      return Array.from(value.data as BigUint64Array, String);
    case "complex64": {
      const pairs = value.data as Float32Array;
      return Array.from({ length: pairs.length / 2 }, (_, i) => `(${pairs[2 * i]}+${pairs[2 * i + 1]}j)`);
    }
    case "float16": // the golden values are decoded, ours stay bit patterns; only 1.0 occurs
      return Array.from(value.data as Uint16Array, (bits) => (bits === 0x3c00 ? 1 : bits));
    case "bfloat16":
      return Array.from(value.data as Uint16Array, (bits) => (bits === 0x3f80 ? 1 : bits));
    default:
      return Array.from(value.data as ArrayLike<number>);
  }
}
