import assert from "node:assert/strict";
import { importModel } from "../src/import/model.js";
import { formDatasets } from "../src/passes/datasets/datasets.js";
import { metaGraphOf, programOf, textOf } from "./text-graph.js";

describe("formDatasets", () => {
  const { library } = importModel(metaGraphOf({ nodes: "x = Placeholder() dtype=float32" }), {
    bindings: new Map(),
    entries: new Map(),
  });
  const TYPES = `output_types=["float32"] output_shapes=[[2]]`;
  const SLICES = `
    x = Placeholder() dtype=float32
    slices = TensorSliceDataset(x) Toutput_types=["float32"] output_shapes=[[2]]`;

  it("leaves no dataset where it knows all of them", () => {
    const text = `${SLICES}
      ahead = PrefetchDataset(slices, n) ${TYPES}
      n = Const() value=int64[]:1
      y = DatasetToSingleElement(ahead) ${TYPES}`;
    const ops = [...formDatasets(programOf(text, "y"), library).graph.values()].map(({ op }) => op);
    assert.deepEqual(
      ops.filter((op) => op.includes("Dataset")),
      [],
    );
    assert.equal(ops.filter((op) => op === "Assert").length, 2);
  });

  it("leaves a program alone whose dataset it cannot follow", () => {
    const text = `${SLICES}
      n = Const() value=int64[]:1
      mixed = ShuffleDataset(slices, n, n, n) ${TYPES}
      y = DatasetToSingleElement(mixed) ${TYPES}`;
    const program = programOf(text, "y");
    assert.deepEqual(textOf(formDatasets(program, library)), textOf(program));
  });
});
