import assert from "node:assert/strict";
import { infer } from "../src/infer/infer.js";
import { constantOf, type GraphNode } from "../src/ir/ir.js";
import type { Program } from "../src/ir/program.js";
import { multiplySpectra } from "../src/passes/rewrites/spectra.js";
import { programOf } from "./text-graph.js";

const FRAMES = `
  x = Placeholder() dtype=float32 shape=[-1,4,6] fed=true
  behind = Const() dtype=int32 value=int32[3,2]:0,0,0,0,0,2
  padded = Pad(x, behind) T=float32 Tpaddings=int32
  length = Const() dtype=int32 value=int32[1]:8
  spectrum = RFFT(padded, length) Treal=float32 Tcomplex=complex64`;

/** As tf.signal.dct has it: the first bins, each turned by half a step. */
const TURNED = `${FRAMES}
  from = Const() dtype=int32 value=int32[2]:0,1
  to = Const() dtype=int32 value=int32[2]:0,4
  steps = Const() dtype=int32 value=int32[2]:1,1
  some = StridedSlice(spectrum, from, to, steps) T=complex64 Index=int32 ellipsis_mask=1 begin_mask=0
  factors = Const() dtype=complex64 value=complex64[3]:1,0,0,2,3,-1
  turned = Mul(factors, some) T=complex64
  re = Real(turned) T=complex64 Tout=float32
  im = Imag(turned) T=complex64 Tout=float32`;

function multiplied(text: string, ...outputs: string[]): Program {
  const program = programOf(text, outputs.join(" "));
  const before = infer(program);
  const after = multiplySpectra(program, before);
  for (const output of outputs) {
    assert.deepEqual(infer(after).infos.get(output), before.infos.get(output));
  }
  return after;
}

/** What a product multiplies by, [rows][columns]. */
function matrixOf({ graph }: Program, product: GraphNode): number[][] {
  const value = constantOf(graph.get(product.inputs[1]!.node))!;
  const [rows, columns] = value.shape as [number, number];
  const data = value.data as Float32Array;
  return Array.from({ length: rows }, (_, row) => [...data.subarray(row * columns, (row + 1) * columns)]);
}

/** Parts of factor * exp(-2 pi i row bin / 8), by definition. */
function expected(bins: readonly number[], factors: readonly (readonly [number, number])[], part: 0 | 1): number[][] {
  return Array.from({ length: 6 }, (_, row) =>
    bins.map((bin, i) => {
      const angle = (-2 * Math.PI * row * bin) / 8;
      const [c, d] = factors[i]!;
      return part === 0 ? Math.cos(angle) * c - Math.sin(angle) * d : Math.cos(angle) * d + Math.sin(angle) * c;
    }),
  );
}

function assertClose(actual: number[][], wanted: number[][]): void {
  assert.deepEqual([actual.length, actual[0]!.length], [wanted.length, wanted[0]!.length]);
  for (const [row, values] of wanted.entries()) {
    for (const [i, value] of values.entries()) assert.ok(Math.abs(actual[row]![i]! - value) < 1e-6, `${row}, ${i}`);
  }
}

describe("a spectrum of which magnitudes or parts are read", () => {
  const bins = [0, 1, 2, 3, 4];
  const ones = bins.map(() => [1, 0] as const);

  it("is a product with the line, without the zeros behind it", () => {
    const after = multiplied(`${FRAMES}\n  y = ComplexAbs(spectrum) T=complex64 Tout=float32`, "y");
    const products = ["y/part", "y/part_1"].map((name) => after.graph.get(name)!);
    assert.deepEqual(
      products.map(({ inputs }) => inputs[0]!.node),
      ["x", "x"],
    );
    for (const [part, product] of products.entries()) {
      assertClose(matrixOf(after, product), expected(bins, ones, part as 0 | 1));
    }
    assert.ok(!after.graph.has("spectrum"));
    // The first and the last bin of an even length are real, exactly.
    for (const row of matrixOf(after, products[1]!)) assert.ok(row[0] === 0 && row[4] === 0);
  });

  it("takes in which bins are read, and constant factors of them", () => {
    const after = multiplied(TURNED, "re", "im");
    const factors = [
      [1, 0],
      [0, 2],
      [3, -1],
    ] as const;
    for (const [part, name] of ["re", "im"].entries()) {
      assertClose(matrixOf(after, after.graph.get(name)!), expected([1, 2, 3], factors, part as 0 | 1));
    }
  });

  for (const [why, text, outputs] of [
    ["others read it too", `${FRAMES}\n  y = ComplexAbs(spectrum) T=complex64 Tout=float32`, ["y", "spectrum"]],
    ["its line is long", TURNED.replaceAll(/4,6\]|:8/g, (at) => (at === ":8" ? ":2048" : "4,2046]")), ["re"]],
    ["its line has another length", TURNED.replace("0,2\n", "0,3\n"), ["re"]],
    [
      "the factors are not one a bin",
      TURNED.replace("complex64[3]:1,0,0,2,3,-1", "complex64[3,1]:1,0,0,2,3,-1"),
      ["re"],
    ],
    ["other dimensions are sliced", TURNED.replace("ellipsis_mask=1", "ellipsis_mask=0"), ["re"]],
  ] as const) {
    it(`stays a transform where ${why}`, () => {
      const program = programOf(text, outputs.join(" "));
      assert.equal(multiplySpectra(program, infer(program)), program);
    });
  }
});
