import type { Model } from "@shardserve/servable";

/** Agreeing comparisons after which the requests of a signature are joined without looking back. */
const PROOFS_NEEDED = 3;

export type JoinState = "unproven" | "joins" | "alone";

/**
 * Whether joining may be trusted, per model, signature and set of outputs.
 *
 * A free dimension 0 does not prove that rows are independent: a graph may count, sort or normalise over them. So the
 * first joined runs are repeated one by one and compared; a signature that disagrees is never joined again.
 */
export class JoinProofs {
  readonly #proofs = new WeakMap<Model, Map<string, number>>();

  state(model: Model, plan: string): JoinState {
    const proofs = this.#proofs.get(model)?.get(plan) ?? 0;
    if (proofs < 0) return "alone";
    return proofs >= PROOFS_NEEDED ? "joins" : "unproven";
  }

  agreed(model: Model, plan: string): void {
    const plans = this.#plans(model);
    const proofs = plans.get(plan) ?? 0;
    if (proofs >= 0) plans.set(plan, proofs + 1);
  }

  disagreed(model: Model, plan: string): void {
    this.#plans(model).set(plan, -1);
  }

  #plans(model: Model): Map<string, number> {
    const plans = this.#proofs.get(model) ?? new Map<string, number>();
    this.#proofs.set(model, plans);
    return plans;
  }
}
