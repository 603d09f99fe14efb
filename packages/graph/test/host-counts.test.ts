import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { infer } from "../src/infer/infer.js";
import { countedOnHost } from "../src/plan/host-counts.js";
import { isLeaf } from "../src/plan/place.js";
import { programOf } from "./text-graph.js";

/** Hashes of words, a long chain of integer arithmetic on them, and `last`. */
function chain(last: string): string {
  const steps = Array.from({ length: 1000 }, (_, i) => `n${i + 1} = Neg(n${i}) T=int64`);
  return `
    x = Placeholder() dtype=string shape=[-1] fed=true
    size = Const() dtype=int64 value=int64[]:9
    weights = Const() dtype=float32 value=float32[0]:
    n0 = StringToHashBucketFast(x) num_buckets=9
    ${steps.join("\n")}
    ${last}`;
}

describe("countedOnHost", () => {
  it("asks nothing of graphs that count nothing", () => {
    const inference = infer(programOf(chain("y = Neg(n1000) T=int64"), "y"));
    const asked = (): never => assert.fail("asked");
    assert.deepEqual(runAtOnce(countedOnHost(inference, asked, asked)), []);
  });

  it("goes over others in pieces", () => {
    const inference = infer(programOf(chain("y = DenseBincount(n1000, size, weights) Tidx=int64 T=float32"), "y"));
    const counting = countedOnHost(inference, ({ op }) => op === "StringToHashBucketFast", isLeaf);
    let pieces = 1;
    let next = counting.next();
    for (; !next.done; next = counting.next()) pieces++;
    assert.deepEqual(next.value, ["n1000"]);
    assert.ok(pieces > 10, `${pieces} pieces`);
  });
});
