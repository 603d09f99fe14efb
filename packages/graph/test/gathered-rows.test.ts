import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { infer } from "../src/infer/infer.js";
import { prune } from "../src/ir/program.js";
import { gatherRowsFirst } from "../src/passes/lookups/gathered-rows.js";
import { programOf, textOf } from "./text-graph.js";

/** Rows of unit length, one of zeros before them, each times a number of its own. */
const NORMED = `
  ids = Placeholder() dtype=int64 shape=[-1] fed=true
  table = Variable() checkpointKey=table dtype=float32 shape=[5000,4]
  scale = Variable() checkpointKey=scale dtype=float32 shape=[5001,1]
  first = Const() dtype=int32 value=int32[]:0
  last = Const() dtype=int32 value=int32[1]:1
  zeros = Const() dtype=float32 value=float32[1,4]:0,0,0,0
  square = Square(table) T=float32
  sum = Sum(square, last) T=float32 Tidx=int32 keep_dims=true
  root = Rsqrt(sum) T=float32
  unit = Mul(table, root) T=float32
  all = ConcatV2(zeros, unit, first) T=float32 N=2 Tidx=int32
  scaled = Mul(all, scale) T=float32
  y = GatherV2(scaled, ids, first) Tparams=float32 Tindices=int64 Taxis=int32 batch_dims=0`;

function gathered(text: string, output = "y"): string[] {
  const program = prune(programOf(text, output));
  return textOf(runAtOnce(gatherRowsFirst(program, infer(program))));
}

describe("gatherRowsFirst", () => {
  it("computes gathered rows of tables instead of whole tables", () => {
    const lines = gathered(NORMED);
    const text = lines.join("\n");
    assert.match(text, /^table\/rows = Gather\(table, ids\/Sub\/Maximum\)$/m);
    assert.match(text, /^square\/rows = Square\(table\/rows\)$/m);
    assert.match(text, /^unit\/rows = Mul\(table\/rows, root\/rows\)$/m);
    assert.match(text, /^zeros\/rows = Gather\(zeros, ids\/Minimum\)$/m);
    assert.match(text, /^all\/rows = SelectV2\(all\/column, zeros\/rows, unit\/rows\)$/m);
    assert.match(text, /^scaled\/rows = Mul\(all\/rows, scale\/rows\)$/m);
    assert.ok(
      lines.every((line) => !/^(square|unit|all|scaled) = /.test(line)),
      text,
    );
    const program = programOf(NORMED, "y");
    const after = runAtOnce(gatherRowsFirst(program, infer(program)));
    assert.deepEqual(infer(after).infos.get("y"), infer(program).infos.get("y"));
  });

  it("gathers by flat ids where they have more dimensions", () => {
    const lines = gathered(NORMED.replace("dtype=int64 shape=[-1]", "dtype=int64 shape=[-1,7]"));
    assert.ok(lines.includes("y/ids = Reshape(ids, y/flat)"), lines.join("\n"));
    assert.ok(lines.includes("y = Reshape(scaled/rows, y/shape)"));
  });

  it("moves ids of a part of a table, none of them into it", () => {
    const part = NORMED.replace(
      /scaled = .*/,
      `begin = Const() dtype=int32 value=int32[2]:2,0
       size = Const() dtype=int32 value=int32[2]:4000,4
       scaled = Slice(table, begin, size) T=float32 Index=int32`,
    );
    const text = gathered(part).join("\n");
    assert.match(text, /^ids\/AddV2\/chosen = SelectV2\(ids\/Less, ids, ids\/AddV2\)$/m);
    assert.match(text, /^table\/rows = Gather\(table, ids\/AddV2\/chosen\/chosen\)$/m);
  });

  for (const [why, from, to] of [
    ["a sum over rows", "value=int32[1]:1", "value=int32[1]:0"],
    ["small tables", /500[01],/g, "20,"],
    ["a gather along another axis", "GatherV2(scaled, ids, first)", "GatherV2(scaled, ids, behind)"],
    ["ids that are known before", /ids = .*/, "ids = Const() dtype=int64 value=int64[2]:1,2"],
    ["what waits for an effect", "root = Rsqrt(sum)", "root = Rsqrt(sum, ^first)"],
  ] as const) {
    it(`leaves alone ${why}`, () => {
      const text = `${NORMED.replace(from, to)}
        behind = Const() dtype=int32 value=int32[]:1`;
      assert.ok(gathered(text).some((line) => line.startsWith("y = GatherV2(scaled")));
    });
  }

  it("leaves alone what would be computed anew in every piece of pieces", () => {
    const doubled = Array.from(
      { length: 12 },
      (_, i) => `x${i + 1} = ConcatV2(x${i}, x${i}, first) T=float32 N=2 Tidx=int32`,
    );
    const text = NORMED.replace("GatherV2(scaled", "GatherV2(x12").replace("scaled = Mul", "x0 = Mul");
    const lines = gathered(`${text}\n${doubled.join("\n")}`);
    assert.ok(lines.some((line) => line.startsWith("y = GatherV2(x12")));
    assert.ok(lines.length < 50);
  });

  it("follows a value that is used many times once", () => {
    const squares = Array.from({ length: 20 }, (_, i) => `x${i + 1} = Mul(x${i}, x${i}) T=float32`);
    const text = NORMED.replace("GatherV2(scaled", "GatherV2(x20").replace("scaled = Mul", "x0 = Mul");
    const lines = gathered(`${text}\n${squares.join("\n")}`);
    assert.ok(lines.includes("x20/rows = Mul(x19/rows, x19/rows)"), lines.join("\n"));
  });

  it("leaves alone what another gather, which cannot go first, needs whole", () => {
    // z gathers of what the sum over all rows needs whole: so neither it nor y can go first.
    const lines = gathered(
      `${NORMED}
       half = Mul(scaled, scale) T=float32
       z = GatherV2(half, ids, first) Tparams=float32 Tindices=int64 Taxis=int32 batch_dims=0
       total = Sum(half, first) T=float32 Tidx=int32 keep_dims=false
       both = AddV2(z, total) T=float32
       out = AddV2(both, y) T=float32`,
      "out",
    );
    assert.ok(lines.some((line) => line.startsWith("z = GatherV2(half")));
    assert.ok(lines.some((line) => line.startsWith("y = GatherV2(scaled")));
  });

  it("leaves alone what is needed whole anyway", () => {
    const whole = `${NORMED}
      mean = Mean(unit, first) T=float32 Tidx=int32
      z = AddV2(y, mean) T=float32`;
    assert.ok(gathered(whole, "z").includes("y = GatherV2(scaled, ids, first)"));
    const other = `${NORMED}
      mean = Mean(table, first) T=float32 Tidx=int32
      z = AddV2(y, mean) T=float32`;
    assert.ok(gathered(other, "z").includes("y = GatherV2(scaled, ids, first)"));
  });
});
