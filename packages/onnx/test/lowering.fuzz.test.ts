import assert from "node:assert/strict";
import { ServingError } from "@shardserve/core";
import { deviceSupports } from "@shardserve/onnx";
import { newData, type NumericDType, type Tensor, tensor } from "@shardserve/tensor";
import { answer, build, goldenCases, type Knowledge } from "./golden-cases.js";

/**
 * Feeds lowered ops what they do not expect: empty and ill-fitting shapes, other ranks, extreme numbers. ONNX Runtime may
 * refuse, but it must not take the process down, which it does where a kernel divides by zero or throws across threads.
 */

const EXTREMES = [-1n, 0n, 1n, 2n, 7n, 1000n, -(2n ** 31n), 2n ** 31n - 1n, -(2n ** 63n), 2n ** 63n - 1n];
const FLOAT_EXTREMES = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1e30];

/** mulberry32: a small generator whose seed a failure prints. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

function mutated(value: Tensor, keepsRank: boolean, pick: (below: number) => number): Tensor {
  let shape = [...value.shape];
  const dice = pick(10);
  if (dice < 4 && shape.length > 0) shape[pick(shape.length)] = 0;
  else if (dice < 6 && shape.length > 0) shape[pick(shape.length)] = 1 + pick(6);
  else if (dice < 7 && !keepsRank) shape = Array.from({ length: pick(5) }, () => pick(4));
  const count = shape.reduce((product, length) => product * length, 1);
  const source = value.data as unknown as ArrayLike<number | bigint>;
  const data = newData(value.dtype as NumericDType, count) as unknown as (number | bigint)[];
  const isBig = value.dtype === "int64" || value.dtype === "uint64";
  for (let i = 0; i < count; i++) {
    data[i] = source.length > 0 ? source[i % source.length]! : isBig ? 0n : 0;
    if (pick(6) > 0 || value.dtype === "bool") continue;
    if (value.dtype.startsWith("float")) data[i] = FLOAT_EXTREMES[pick(FLOAT_EXTREMES.length)]!;
    else
      data[i] = isBig ? EXTREMES[pick(EXTREMES.length)]! : Number(BigInt.asIntN(32, EXTREMES[pick(EXTREMES.length)]!));
  }
  return tensor(value.dtype, shape, data as never);
}

describe("lowered ops under bad input", () => {
  const budgetMs = Number(process.env["FUZZ_MS"] ?? 300);

  it(`refuse or answer, for ${budgetMs} ms`, async function () {
    this.timeout(budgetMs * 3 + 60_000);
    const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
    const pick = random(seed);
    const cases = [...goldenCases().values()].flat();
    const untilMs = performance.now() + budgetMs;
    let runs = 0;
    while (performance.now() < untilMs) {
      const golden = cases[pick(cases.length)]!;
      const knowledge: Knowledge = pick(2) === 0 ? "ranks only" : "nothing";
      const { step, infos, fed, node, context } = build(golden, knowledge);
      if (deviceSupports(node, context) !== true) continue;
      const feeds = fed.map((value) => mutated(value, knowledge === "ranks only", pick));
      runs++;
      await answer(step, infos, feeds).catch((error: unknown) => {
        assert.ok(error instanceof ServingError, `${golden.op} with FUZZ_SEED=${seed}: ${String(error)}`);
      });
    }
    console.log(`      ${runs} runs, FUZZ_SEED=${seed}`);
  });
});
