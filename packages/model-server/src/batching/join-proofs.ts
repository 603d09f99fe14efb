import type { Model } from "@shardserve/servable";

/** Agreeing comparisons after which the requests of a signature are joined without looking back. */
const PROOFS_NEEDED = 3;

export type JoinState = "unproven" | "joins" | "alone";

/** What comparisons of one model, signature and set of outputs have said. */
interface Proofs {
  isRefuted: boolean;
  /** Agreeing comparisons: of any members, and by input of such that differed in it. */
  agreed: number;
  readonly agreedOn: Map<string, number>;
}

/**
 * Whether joining may be trusted, per model, signature and set of outputs.
 *
 * A free dimension 0 does not prove that rows are independent: a graph may count, sort or normalise over them. So the
 * first joined runs are repeated one by one and compared; a signature that disagrees is never joined again. Equal rows prove nothing
 * of different ones (`x - x[0]`, attention over duplicates): each input counts as proven by comparisons in which it differed.
 */
export class JoinProofs {
  readonly #proofs = new WeakMap<Model, Map<string, Proofs>>();

  /**
   * @param inputs     names of all inputs
   * @param isDifferent  whether the requests that are to be joined differ in an input; asked only of those not proven yet
   */
  state(model: Model, plan: string, inputs: Iterable<string>, isDifferent: (input: string) => boolean): JoinState {
    const proofs = this.#proofs.get(model)?.get(plan);
    if (!proofs) return "unproven";
    if (proofs.isRefuted) return "alone";
    if (proofs.agreed < PROOFS_NEEDED) return "unproven";
    for (const input of inputs)
      if ((proofs.agreedOn.get(input) ?? 0) < PROOFS_NEEDED && isDifferent(input)) return "unproven";
    return "joins";
  }

  agreed(model: Model, plan: string, differing: readonly string[]): void {
    const proofs = this.#of(model, plan);
    proofs.agreed++;
    for (const input of differing) proofs.agreedOn.set(input, (proofs.agreedOn.get(input) ?? 0) + 1);
  }

  disagreed(model: Model, plan: string): void {
    this.#of(model, plan).isRefuted = true;
  }

  #of(model: Model, plan: string): Proofs {
    const plans = this.#proofs.get(model) ?? new Map<string, Proofs>();
    this.#proofs.set(model, plans);
    const proofs = plans.get(plan) ?? { isRefuted: false, agreed: 0, agreedOn: new Map<string, number>() };
    plans.set(plan, proofs);
    return proofs;
  }
}
