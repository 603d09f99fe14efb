import { Semaphore, ServingError } from "@shardserve/core";
import type { PlanInput, Shape } from "@shardserve/graph";
import type { RunResult } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import type { BoundPlan, PlanRunOptions } from "./bound-plan.js";

/** A plan and the shapes that it was made for. */
export interface PlanVariant {
  readonly inputs: readonly PlanInput[];
  readonly bound: BoundPlan;
  /** True when a run reads or writes variables that requests change. */
  readonly isStateful: boolean;
}

/**
 * Runs one signature. TensorFlow does not hold requests to a signature's shapes, but ranks decide how ops are lowered: a
 * request of another rank, or with another length where the signature has a fixed one, gets a plan of its own, made on
 * first use.
 */
export class SignatureRunner {
  readonly #main: PlanVariant;
  readonly #makeVariant: (shapes: ReadonlyMap<string, Shape>) => Promise<PlanVariant>;
  readonly #variants = new Map<string, Promise<PlanVariant>>();
  readonly #variantsMax: number;
  /** One run at a time over the model's mutable variables. */
  readonly #stateLock: Semaphore;

  constructor(
    main: PlanVariant,
    makeVariant: (shapes: ReadonlyMap<string, Shape>) => Promise<PlanVariant>,
    variantsMax: number,
    stateLock: Semaphore,
  ) {
    this.#main = main;
    this.#makeVariant = makeVariant;
    this.#variantsMax = variantsMax;
    this.#stateLock = stateLock;
  }

  async run(inputs: ReadonlyMap<string, Tensor>, options: PlanRunOptions): Promise<RunResult> {
    const variant = fits(this.#main.inputs, inputs) ? this.#main : await this.#variantFor(inputs);
    if (!variant.isStateful) return variant.bound.run(inputs, options);
    await this.#stateLock.acquire(1, options.signal);
    try {
      return await variant.bound.run(inputs, options);
    } finally {
      this.#stateLock.release();
    }
  }

  #variantFor(inputs: ReadonlyMap<string, Tensor>): Promise<PlanVariant> {
    const shapes = new Map<string, Shape>();
    for (const { alias, assumedShape } of this.#main.inputs) {
      const value = inputs.get(alias);
      if (value && !fitsShape(assumedShape, value.shape))
        shapes.set(
          alias,
          value.shape.map(() => -1),
        );
    }
    const key = [...shapes].map(([alias, shape]) => `${alias}:${shape!.length}`).join();
    let variant = this.#variants.get(key);
    if (variant) return variant;
    if (this.#variants.size >= this.#variantsMax) {
      throw new ServingError(
        "RESOURCE_EXHAUSTED",
        `inputs of yet another rank: ${this.#variantsMax} combinations other than the signature's were seen already; ` +
          "send inputs in the shapes that the signature states",
      );
    }
    variant = this.#makeVariant(shapes);
    this.#variants.set(key, variant);
    variant.catch(() => this.#variants.delete(key)); // the caller gets the error; the next one tries again
    return variant;
  }
}

function fits(expected: readonly PlanInput[], inputs: ReadonlyMap<string, Tensor>): boolean {
  for (let i = 0; i < expected.length; i++) {
    const { alias, assumedShape } = expected[i]!;
    const value = inputs.get(alias);
    if (value && !fitsShape(assumedShape, value.shape)) return false;
  }
  return true;
}

function fitsShape(assumed: Shape, shape: readonly number[]): boolean {
  if (!assumed) return true;
  if (assumed.length !== shape.length) return false;
  for (let i = 0; i < shape.length; i++) if (assumed[i] !== -1 && assumed[i] !== shape[i]) return false;
  return true;
}
