import assert from "node:assert/strict";
import { dilateConvolutions } from "../src/passes/rewrites/dilations.js";
import { infer } from "../src/infer/infer.js";
import { programOf, textOf } from "./text-graph.js";

/** A Conv1D of Keras with dilation 2, as TensorFlow exports it. */
const LINE = `
  x = Placeholder() dtype=float32 shape=[-1,130,8] fed=true
  kernel = Placeholder() dtype=float32 shape=[1,2,8,4] fed=true
  block = Const() dtype=int32 value=int32[1]:2
  pads = Const() dtype=int32 value=int32[1,2]:0,0
  crops = Const() dtype=int32 value=int32[1,2]:0,0
  at = Const() dtype=int32 value=int32[]:-3
  space = SpaceToBatchND(x, block, pads) T=float32 Tblock_shape=int32 Tpaddings=int32
  wide = ExpandDims(space, at) T=float32 Tdim=int32
  conv = Conv2D(wide, kernel) T=float32 strides=[1,1,1,1] padding=VALID
  thin = Squeeze(conv) T=float32 squeeze_dims=[-3]
  y = BatchToSpaceND(thin, block, crops) T=float32 Tblock_shape=int32 Tcrops=int32`;

const PLANE = `
  x = Placeholder() dtype=float32 shape=[-1,9,10,8] fed=true
  kernel = Placeholder() dtype=float32 shape=[3,3,8,4] fed=true
  block = Const() dtype=int32 value=int32[2]:2,3
  pads = Const() dtype=int32 value=int32[2,2]:2,3,3,5
  crops = Const() dtype=int32 value=int32[2,2]:0,1,0,2
  space = SpaceToBatchND(x, block, pads) T=float32 Tblock_shape=int32 Tpaddings=int32
  conv = Conv2D(space, kernel) T=float32 strides=[1,1,1,1] padding=VALID
  y = BatchToSpaceND(conv, block, crops) T=float32 Tblock_shape=int32 Tcrops=int32`;

function dilated(text: string) {
  const program = programOf(text, "y");
  const before = infer(program);
  const after = dilateConvolutions(program, before);
  assert.deepEqual(infer(after).infos.get("y"), before.infos.get("y"));
  return after;
}

describe("a convolution between SpaceToBatchND and BatchToSpaceND", () => {
  it("has dilations instead, in one dimension", () => {
    const { graph } = dilated(LINE);
    assert.deepEqual(graph.get("y/dilated")!.attrs.ints("dilations"), [1, 1, 2, 1]);
    assert.equal(graph.get("y/dilated")!.attrs.text("padding"), "VALID");
    assert.equal(graph.get("y")!.op, "Squeeze");
    assert.ok(![...graph.values()].some(({ op }) => op === "SpaceToBatchND"));
  });

  it("keeps of the padding what is not cropped, in two dimensions", () => {
    const { attrs, op } = dilated(PLANE).graph.get("y")!;
    assert.equal(op, "Conv2D");
    assert.deepEqual(attrs.ints("dilations"), [1, 2, 3, 1]);
    assert.deepEqual(attrs.ints("explicit_paddings"), [0, 0, 2, 2, 3, 3, 0, 0]);
  });

  for (const [why, text, from, to] of [
    ["lengths are unknown", LINE, "shape=[-1,130,8]", "shape=[-1,-1,8]"],
    ["they do not divide", LINE, "shape=[-1,130,8]", "shape=[-1,129,8]"],
    ["nothing would be left", LINE, "shape=[-1,130,8]", "shape=[-1,2,8]"],
    ["the blocks differ", LINE, "BatchToSpaceND(thin, block", "BatchToSpaceND(thin, block2"],
    ["the axis is another", LINE, "squeeze_dims=[-3]", "squeeze_dims=[-2]"],
    ["the convolution has strides", LINE, "strides=[1,1,1,1]", "strides=[1,1,2,1]"],
    ["it pads by itself", LINE, "padding=VALID", "padding=SAME"],
    [
      "values are cropped",
      LINE,
      "crops = Const() dtype=int32 value=int32[1,2]:0,0",
      "crops = Const() dtype=int32 value=int32[1,2]:0,2",
    ],
    ["the start is cropped", PLANE, ":0,1,0,2", ":1,0,0,2"],
  ] as const) {
    it(`stays where ${why}`, () => {
      assert.ok(text.includes(from));
      const changed = `${text.replace(from, to)}\n  block2 = Const() dtype=int32 value=int32[1]:4`;
      const program = programOf(changed, "y");
      assert.deepEqual(textOf(dilateConvolutions(program, infer(program))), textOf(program));
    });
  }
});
