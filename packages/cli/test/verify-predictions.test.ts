import assert from "node:assert/strict";
import { ServingError } from "@shardserve/core";
import { type Tensor, tensor } from "@shardserve/tensor";
import { isSameAnswer } from "../src/commands/verify-predictions.js";

describe("answers that verify compares", () => {
  const answerOf = (...values: number[]): Map<string, Tensor> =>
    new Map([["y", tensor("float32", [values.length], Float32Array.from(values))]]);

  it("are the same within the tolerance of the largest magnitude, which is that of finite elements and 1 at least", () => {
    assert.ok(isSameAnswer(answerOf(100, 0), answerOf(100, 0.9), 0.01));
    assert.ok(!isSameAnswer(answerOf(100, 0), answerOf(100, 1.1), 0.01));
    assert.ok(!isSameAnswer(answerOf(Infinity, 0), answerOf(Infinity, 0.1), 0.01));
    assert.ok(isSameAnswer(answerOf(NaN, 0), answerOf(NaN, 0.009), 0.01));
    assert.ok(!isSameAnswer(answerOf(NaN), answerOf(0), 0.01));
    assert.ok(!isSameAnswer(answerOf(1), answerOf(1.0000001), 0));
  });

  it("may be of a million elements", () => {
    const values = Float32Array.from({ length: 1_000_000 }, (_, i) => i);
    const answer = new Map([["y", tensor("float32", [values.length], values)]]);
    assert.ok(isSameAnswer(answer, answer, 0.01));
  });

  it("differ in shape, in what is there, and in the error", () => {
    assert.ok(!isSameAnswer(answerOf(1, 1), answerOf(1), 0.01));
    assert.ok(!isSameAnswer(answerOf(1), new Map(), 0.01));
    assert.ok(!isSameAnswer(answerOf(1), new ServingError("INVALID_ARGUMENT", "no"), 0.01));
    const [a, b] = [new ServingError("INVALID_ARGUMENT", "one"), new ServingError("INVALID_ARGUMENT", "other")];
    assert.ok(isSameAnswer(a, b, 0));
  });
});
