import { CancelSource, type Clock, type Random, ServingError } from "@shardserve/core";
import type { Manager, ServableHandle } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import { isSameTensor } from "../batching/batch-plan.js";
import type { Batcher } from "../batching/batcher.js";
import type { BatchRequest } from "../batching/member.js";

/** What became of a copied request; `dropped` = too many copies were under way. */
export type ShadowOutcome = (typeof SHADOW_OUTCOMES)[number];
export const SHADOW_OUTCOMES = ["same", "different", "failed", "unavailable", "dropped"] as const;

export interface ShadowTrafficOptions {
  readonly manager: Pick<Manager, "handle" | "trafficOf">;
  readonly batcher: Pick<Batcher, "run">;
  readonly clock: Clock;
  /** Draws the requests that are copied. */
  readonly random: Random;
  readonly onOutcome: (model: string, version: number, outcome: ShadowOutcome) => void;
}

/** A request and the version that answered it. */
export type AnsweredRequest = Pick<BatchRequest, "handle" | "signature" | "inputs" | "outputs"> &
  Required<Pick<BatchRequest, "memory">>;

/** Copies under way at once, over all models: what is copied must not slow down what is answered. */
const COPIES_MAX = 16;
const TIMEOUT_MS = 10_000;
/** Two versions answer the same when no element differs by more than this part of the tensor's largest magnitude. */
const TOLERANCE = 1e-5;

/**
 * Runs copies of answered requests on the version that a model's traffic policy names as its shadow, and compares the
 * answers. The caller never waits for it, and nothing of it reaches an answer.
 */
export class ShadowMirror {
  readonly #options: ShadowTrafficOptions;
  #copies = 0;

  constructor(options: ShadowTrafficOptions) {
    this.#options = options;
  }

  /** Call with the answer of a version, before its handle is released. */
  mirror(request: AnsweredRequest, answer: ReadonlyMap<string, Tensor>): void {
    const { manager, random, onOutcome } = this.#options;
    const { name, version } = request.handle.id;
    const shadow = manager.trafficOf(name)?.shadow;
    if (!shadow || shadow.version === version || random.next() >= shadow.fraction) return;
    if (this.#copies >= COPIES_MAX) return onOutcome(name, shadow.version, "dropped");
    let handle: ServableHandle;
    try {
      handle = manager.handle({ name, version: shadow.version });
    } catch {
      return onOutcome(name, shadow.version, "unavailable"); // not loaded, or leaving
    }
    this.#copies++;
    request.memory.pin();
    void this.#run(handle, request, answer).then((outcome) => {
      this.#copies--;
      request.memory.unpin();
      handle.release();
      onOutcome(name, shadow.version, outcome);
    });
  }

  async #run(
    handle: ServableHandle,
    { signature: { name: signatureName }, inputs, outputs, memory }: AnsweredRequest,
    answer: ReadonlyMap<string, Tensor>,
  ): Promise<ShadowOutcome> {
    const { batcher, clock } = this.#options;
    const signature = handle.model.signatures.get(signatureName);
    if (!signature) return "failed";
    const cancel = new CancelSource();
    const cancelTimer = clock.after(TIMEOUT_MS, () =>
      cancel.abort(new ServingError("DEADLINE_EXCEEDED", "a copied request took too long")),
    );
    try {
      const deadlineMs = clock.nowMs() + TIMEOUT_MS;
      const copy = await batcher.run({ handle, signature, inputs, outputs, signal: cancel, deadlineMs, memory });
      const isSame = [...answer].every(([alias, tensor]) => {
        const other = copy.outputs.get(alias);
        return other !== undefined && isSameTensor(tensor, other, TOLERANCE);
      });
      return isSame ? "same" : "different";
    } catch {
      return "failed"; // counted; the version's own stages and the log of the engine say more
    } finally {
      cancelTimer();
    }
  }
}
