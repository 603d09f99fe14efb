import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { Attrs, type GraphNode } from "@shardserve/graph";
import { loadOrt } from "@shardserve/native";
import { tensor } from "@shardserve/tensor";
import { NodeLowering } from "../src/lower/node-lowering.js";
import { isPlainLoop } from "../src/lower/loops/plain-loop.js";
import { OnnxBuilder } from "../src/proto/builder.js";

const UNITS = 3;
const node: GraphNode = { name: "loop", op: "While", inputs: [], controls: [], attrs: new Attrs("While") };

/** Whether a loop of `turns` turns over zeros of shape [rows, batch, 2] is taken for a recurrent layer. */
async function isPlain(rows: number, batch: number, turns: number): Promise<boolean> {
  const b = new OnnxBuilder();
  const n = new NodeLowering(node, { inputs: [], outputs: [], constant: () => undefined }, b, [], () => true);
  const [x, state, count] = [b.input("float32", undefined), b.input("float32", undefined), b.input("int32", [1])];
  const turnCount = b.op("Cast", [count], { to: 7 }, "int64");
  b.output(isPlainLoop(n, { rows: x, states: [state], units: UNITS, turns: turnCount, weights: [x], limits: [] }));
  using session = await loadOrt().createSession(runAtOnce(b.building(() => new Uint8Array(0))));
  const zeros = (shape: number[]) => tensor("float32", shape, new Float32Array(shape.reduce((a, c) => a * c, 1)));
  const [result] = session.runOnTensors([
    zeros([rows, batch, 2]),
    zeros([batch, UNITS]),
    tensor("int32", [1], Int32Array.of(turns)),
  ]);
  return Boolean((result!.data as Uint8Array)[0]);
}

describe("a loop that is a recurrent layer", () => {
  it("takes a turn for each row", async () => {
    assert.equal(await isPlain(2, 1, 2), true);
    assert.equal(await isPlain(2, 1, 1), false);
  });

  it("has a batch and a turn: ONNX Runtime ends the process where it has none", async () => {
    assert.equal(await isPlain(2, 0, 2), false);
    assert.equal(await isPlain(0, 1, 0), false);
  });
});
