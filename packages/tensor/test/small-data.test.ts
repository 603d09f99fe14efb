import assert from "node:assert/strict";
import { bytesOf, lanesOf, newData, zeroedArray } from "../src/index.js";

describe("zeroedArray", () => {
  it("gives every array memory of its own, zeroed and aligned, however many there are", () => {
    const arrays = Array.from({ length: 3000 }, (_, i) => zeroedArray(Float64Array, i % 150));
    for (const [i, array] of arrays.entries()) {
      assert.ok(array.every((item) => item === 0));
      assert.equal(array.byteOffset % 16, 0);
      array.fill(i);
    }
    for (const [i, array] of arrays.entries()) assert.ok(array.every((item) => item === i));
  });

  it("does not keep a large array in memory that others share", () => {
    const large = newData("int64", 4096);
    assert.equal(large.buffer.byteLength, large.byteLength);
  });

  it("is seen whole, and nothing beside it, through its bytes and lanes", () => {
    newData("uint8", 3).fill(7);
    const data = newData("int64", 2);
    newData("uint8", 3).fill(9);
    data[1] = -2n;
    assert.deepEqual([...lanesOf(data)], [0, 0, -2, -1]);
    assert.equal(bytesOf(data).length, 16);
    assert.throws(() => newData("int32", -1), RangeError);
  });
});
