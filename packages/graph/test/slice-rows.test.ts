import assert from "node:assert/strict";
import { HloAttrs, type HloAttr, type HloOp, type HloTensorType, type HloValue } from "@shardserve/savedmodel";
import { rowOf } from "../src/stablehlo/slice-rows.js";
import { OpTranslation, type Surroundings } from "../src/stablehlo/translation.js";

function typeOf(dtype: "float32" | "int32", shape: readonly number[]): HloTensorType {
  return { kind: "tensor", shape, element: { kind: "element", name: dtype, dtype } };
}

/** The row of x [?, width] that JAX's slice of one row is, where the module says that x has `stated` columns. */
function sliced(width: number, stated: number) {
  const definitions = new Map<HloValue, HloOp>();
  const make = (name: string, operands: HloValue[], type: HloTensorType, attrs: [string, HloAttr][] = []): HloValue => {
    const result = { type };
    definitions.set(result, {
      name,
      operands,
      results: [result],
      attrs: new HloAttrs(name, new Map(attrs)),
      regions: [],
    });
    return result;
  };
  const ints = (...values: number[]): HloValue => {
    const type = typeOf("int32", [values.length]);
    const bytes = new Uint8Array(Int32Array.from(values).buffer);
    return make("constant", [], type, [["value", { kind: "tensor", type, bytes }]]);
  };
  const pair = typeOf("int32", [2]);
  const joined = (scalar: HloValue, other: number): HloValue =>
    make("concatenate", [make("reshape", [scalar], typeOf("int32", [1])), ints(other)], pair);
  const [x, rows, at] = [typeOf("float32", [-1, width]), typeOf("int32", []), typeOf("int32", [])].map((type) => ({
    type,
  })) as [HloValue, HloValue, HloValue];
  const sizes = ints(1, stated);
  const room = make("subtract", [joined(rows, stated), sizes], pair);
  const starts = make("clamp", [ints(0, 0), joined(at, 0), room], pair);
  const limits = make("add", [starts, sizes], pair);
  const result = make("real_dynamic_slice", [x, starts, limits, ints(1, 1)], typeOf("float32", [1, stated]));
  const around = { definition: (value: HloValue) => definitions.get(value), behindCalls: (value: HloValue) => value };
  return { row: rowOf(new OpTranslation(definitions.get(result)!, around as unknown as Surroundings)), at };
}

describe("a slice of one row", () => {
  it("is a row where all columns are taken", () => {
    const { row, at } = sliced(4, 4);
    assert.equal(row?.axis, 0);
    assert.equal(row.start, at);
  });

  it("is none where the module says that there are fewer columns than the operand has", () => {
    assert.equal(sliced(5, 4).row, undefined);
  });
});
