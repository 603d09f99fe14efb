import { CancelSource, silentLogger, systemClock } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { hostKernels } from "@shardserve/host-ops";
import { type BatchingOptions, DEFAULT_BATCHING } from "@shardserve/model-server";
import { Batcher } from "@shardserve/model-server/internal";
import { loadOrt } from "@shardserve/native";
import { LoadedVersion } from "@shardserve/servable";
import type { Send } from "../load/drivers.js";
import type { Inputs } from "../models/requests.js";

/** A model behind the server's batcher in this process, and nothing before it. */
export async function openInProcess(
  dir: string,
  inputs: readonly Inputs[],
  batching: Partial<BatchingOptions>,
): Promise<AsyncDisposable & { readonly send: Send }> {
  const model = await loadModel({ dir, ort: loadOrt(), kernels: hostKernels });
  const handle = new LoadedVersion({ name: "m", version: 1 }, model).pin();
  const batcher = new Batcher({
    batching: { ...DEFAULT_BATCHING, targetLatencyMs: Number.POSITIVE_INFINITY, ...batching },
    clock: systemClock,
    logger: silentLogger,
    onRun: () => {},
    whenArrived: (start) => void setImmediate(start),
  });
  const signature = model.signatures.get("serving_default")!;
  const send: Send = (i) =>
    batcher.run({
      handle,
      signature,
      inputs: inputs[i % inputs.length]!,
      outputs: undefined,
      signal: new CancelSource(),
      deadlineMs: undefined,
    });
  return {
    send,
    async [Symbol.asyncDispose]() {
      handle.release();
      await model.close();
    },
  };
}
