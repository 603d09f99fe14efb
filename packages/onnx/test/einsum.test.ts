import assert from "node:assert/strict";
import { answer, build, type GoldenCase, KNOWLEDGE } from "./golden-cases.js";
import { lowerSegment } from "../src/segment.js";

const base64 = (data: Float32Array): string => Buffer.from(data.buffer).toString("base64");

function elementsOf(shape: readonly number[]): Float32Array {
  const count = shape.reduce((product, length) => product * length, 1);
  return Float32Array.from({ length: count }, (_, i) => ((i * 7) % 11) - 5);
}

/** The product of two operands by the definition: a sum over all values of all labels. */
function defined(equation: string, shapes: readonly (readonly number[])[]): { shape: number[]; data: Float32Array } {
  const [inputs, result] = equation.split("->") as [string, string];
  const terms = inputs.split(",");
  const lengths = new Map<string, number>();
  terms.forEach((term, i) => Array.from(term).forEach((label, axis) => lengths.set(label, shapes[i]![axis]!)));
  const shape = Array.from(result).map((label) => lengths.get(label)!);
  const operands = shapes.map(elementsOf);
  const data = new Float32Array(shape.reduce((product, length) => product * length, 1));
  const at = new Map<string, number>();
  const position = (term: string): number =>
    Array.from(term).reduce((index, label) => index * lengths.get(label)! + at.get(label)!, 0);
  const add = (labels: readonly string[]): void => {
    const [label, ...rest] = labels;
    if (label === undefined) {
      data[position(result)]! += operands.reduce((value, operand, i) => value * operand[position(terms[i]!)]!, 1);
      return;
    }
    for (let index = 0; index < lengths.get(label)!; index++) {
      at.set(label, index);
      add(rest);
    }
  };
  add([...lengths.keys()]);
  return { shape, data };
}

function einsumOf(equation: string, shapes: readonly (readonly number[])[], isWeight = false): GoldenCase {
  const { shape, data } = defined(equation, shapes);
  return {
    op: "Einsum",
    attrs: { equation, T: 1, N: 2 },
    in: shapes.map((s, i) => ({
      d: 1,
      s: [...s],
      b: base64(elementsOf(s)),
      ...(isWeight && i === 1 && { c: 1 as const }),
    })),
    out: [{ d: 1, s: shape, b: base64(data) }],
  };
}

describe("Einsum", () => {
  const cases: [string, number[][]][] = [
    [
      "abc,cde->abde",
      [
        [2, 3, 64],
        [64, 4, 8],
      ],
    ],
    [
      "abc,cde->abde",
      [
        [0, 3, 64],
        [64, 4, 8],
      ],
    ],
    [
      "abc,cde->abde",
      [
        [2, 3, 0],
        [0, 4, 8],
      ],
    ],
    [
      "abde,dec->abc",
      [
        [2, 3, 4, 8],
        [4, 8, 64],
      ],
    ],
    [
      "abde,dec->abc",
      [
        [2, 0, 4, 8],
        [4, 8, 64],
      ],
    ],
    [
      "aecd,abcd->acbe",
      [
        [2, 5, 3, 4],
        [2, 6, 3, 4],
      ],
    ],
    [
      "acbe,aecd->abcd",
      [
        [2, 3, 6, 5],
        [2, 5, 3, 4],
      ],
    ],
    [
      "abcd,ade->abce",
      [
        [2, 3, 5, 4],
        [2, 4, 6],
      ],
    ],
    [
      "abcd,ade->abce",
      [
        [2, 0, 5, 4],
        [2, 4, 6],
      ],
    ],
    [
      "abcd,adef->eafbc",
      [
        [2, 3, 5, 4],
        [2, 4, 6, 2],
      ],
    ],
    [
      "abc,bc->a",
      [
        [2, 3, 4],
        [3, 4],
      ],
    ],
    [
      "ab,ab->a",
      [
        [3, 4],
        [3, 4],
      ],
    ],
    [
      "ab,ab->",
      [
        [3, 4],
        [3, 4],
      ],
    ],
    [
      "ab,cde->cdeab",
      [
        [3, 4],
        [2, 3, 2],
      ],
    ],
  ];
  for (const [equation, shapes] of cases) {
    for (const isWeight of [false, true]) {
      const sizes = shapes.map((shape) => `[${shape.join()}]`).join(" by ");
      it(`${equation} of ${sizes}${isWeight ? ", a weight" : ""}`, async () => {
        const { shape, data } = defined(equation, shapes);
        for (const knowledge of KNOWLEDGE) {
          const { step, infos, fed } = build(einsumOf(equation, shapes, isWeight), knowledge);
          const [result] = await answer(step, infos, fed);
          assert.deepEqual(result!.shape, shape, knowledge);
          assert.deepEqual(result!.data, data, knowledge); // sums of small integers are exact
        }
      });
    }
  }

  it("by a weight is a product and one reshape, whatever the batch", () => {
    const heads = build(
      einsumOf(
        "abc,cde->abde",
        [
          [2, 3, 64],
          [64, 4, 8],
        ],
        true,
      ),
      "ranks only",
    );
    assert.equal(lowerSegment(heads.step, heads.infos).nodeCount, 2);
    const scores = build(
      einsumOf("aecd,abcd->acbe", [
        [2, 5, 3, 4],
        [2, 6, 3, 4],
      ]),
      "ranks only",
    );
    assert.equal(lowerSegment(scores.step, scores.infos).nodeCount, 3); // two transpositions
  });
});
