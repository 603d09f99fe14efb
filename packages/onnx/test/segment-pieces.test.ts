import assert from "node:assert/strict";
import { type Pieces, runAtOnce } from "@shardserve/core";
import { Attrs, type DeviceStep, type GraphNode, refKey, type ValueInfo } from "@shardserve/graph";
import { constantBytes, loweringSegment, lowerSegment } from "@shardserve/onnx";

const NODES = 1000;

describe("loweringSegment", () => {
  it("lowers and encodes a long step in many pieces, to the same bytes", () => {
    const { step, infos } = chain();
    const lowered = counted(loweringSegment(step, infos));
    const encoded = counted(lowered.result.encoding(constantBytes));
    assert.ok(lowered.pieces > NODES / 50, `lowered in ${lowered.pieces} pieces`);
    assert.ok(encoded.pieces > NODES / 50, `encoded in ${encoded.pieces} pieces`);
    assert.deepEqual(encoded.result, lowerSegment(step, infos).encode(constantBytes));
    const unnamed = runAtOnce(lowered.result.encoding(constantBytes, false));
    assert.ok(unnamed.length < encoded.result.length);
  });
});

function chain(): { readonly step: DeviceStep; readonly infos: ReadonlyMap<string, ValueInfo> } {
  const ref = (i: number) => ({ node: `n${i}`, index: 0 });
  const attrs = new Attrs("Neg", { T: "float32" });
  const nodes = Array.from({ length: NODES }, (_, i): GraphNode => {
    return { name: `n${i + 1}`, op: "Neg", inputs: [ref(i)], controls: [], attrs };
  });
  const infos = new Map<string, ValueInfo>();
  for (let i = 0; i <= NODES; i++) infos.set(refKey(ref(i)), { dtype: "float32", shape: [-1] });
  const [inputs, outputs] = [[ref(0)], [ref(NODES)]];
  return { step: { kind: "device", id: "step", nodes, inputs, outputs, variables: new Map() }, infos };
}

function counted<T>(computation: Pieces<T>): { readonly result: T; readonly pieces: number } {
  for (let pieces = 1; ; pieces++) {
    const next = computation.next();
    if (next.done) return { result: next.value, pieces };
  }
}
