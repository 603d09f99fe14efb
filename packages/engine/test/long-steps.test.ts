import assert from "node:assert/strict";
import { Attrs, type DeviceStep, type GraphNode, refKey, type ValueInfo } from "@shardserve/graph";
import { loadOrt, type Ort, type OrtSession, type SessionOptions } from "@shardserve/native";
import { toNumbers, tensor } from "@shardserve/tensor";
import { OrtDevice } from "../src/device/ort-device.js";
import { Checkpoint } from "../src/load/checkpoint.js";

describe("OrtDevice", () => {
  for (const [nodes, memoryReuse] of [
    [100, true],
    [5000, false],
  ] as const) {
    it(`opens a step of ${nodes} nodes ${memoryReuse ? "with" : "without"} a plan for the reuse of memory`, async () => {
      const ort = loadOrt();
      const asked: (boolean | undefined)[] = [];
      const createSession = async (model: Uint8Array, options: SessionOptions): Promise<OrtSession> => {
        asked.push(options.memoryReuse);
        const opened = await ort.createSession(model, options);
        // What ONNX Runtime rewrote may refuse an empty feed, so that the step is opened again as it was written.
        if (asked.length === 1) refuseEmptyFeeds(opened);
        return opened;
      };
      const checkpoint = await Checkpoint.open(undefined, {
        rowSource: undefined,
        loadThread: ort.loadThread,
        pace: undefined,
      });
      const device = new OrtDevice({ gpu: undefined, createSession } as unknown as Ort, checkpoint);
      try {
        const [session] = await device.open([chain(nodes)]);
        const [answer] = await session!.run([session!.feed(tensor("float32", [2, 1], Float32Array.of(1.5, -2)))], {});
        assert.deepEqual(toNumbers(answer!.toTensor()), [1.5, -2]);
        const [nothing] = await session!.run([session!.feed(tensor("float32", [0, 1], new Float32Array()))], {});
        assert.deepEqual(nothing!.toTensor().shape, [0, 1]);
        assert.deepEqual(asked, [memoryReuse, memoryReuse]);
      } finally {
        await device.close();
        await checkpoint.close();
      }
    });
  }
});

function refuseEmptyFeeds(session: OrtSession): void {
  const run = session.run.bind(session);
  session.run = async (feeds, options) => {
    if (feeds.some(({ shape }) => shape.includes(0))) throw new Error("an empty feed");
    return run(feeds, options);
  };
}

/** An even number of Neg nodes, one behind the other. */
function chain(length: number) {
  const ref = (i: number) => ({ node: `n${i}`, index: 0 });
  const attrs = new Attrs("Neg", { T: "float32" });
  const nodes = Array.from({ length }, (_, i): GraphNode => {
    return { name: `n${i + 1}`, op: "Neg", inputs: [ref(i)], controls: [], attrs };
  });
  const infos = new Map<string, ValueInfo>();
  for (let i = 0; i <= length; i++) infos.set(refKey(ref(i)), { dtype: "float32", shape: [-1, 1] });
  const step: DeviceStep = {
    kind: "device",
    id: "step",
    nodes,
    inputs: [ref(0)],
    outputs: [ref(length)],
    variables: new Map(),
  };
  return { step, infos };
}
