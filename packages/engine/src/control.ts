import { setImmediate as nextTurn } from "node:timers/promises";
import { type Clock, invariant, ServingError } from "@shardserve/core";
import { type ControlPlan, type GraphNode, type HostKernel, type HostValue, isTensor } from "@shardserve/graph";
import { elementCount, type StringColumn, type Tensor } from "@shardserve/tensor";
import type { BoundPlan, RegionOptions } from "./bound-plan.js";

/** A loop that took this many turns is not going to end; TensorFlow would go on for ever. */
const TURNS_MAX = 100_000_000;
/** Loops let other work through this often. */
const PAUSE_MS = 8;

/** The kernel of a `Branch` or `Loop` node whose regions are bound. */
export function controlKernel({ node }: ControlPlan, regions: readonly BoundPlan[], clock: Clock): HostKernel {
  return node.op === "Branch" ? branchKernel(node, regions) : loopKernel(node, regions, clock);
}

function branchKernel(node: GraphNode, regions: readonly BoundPlan[]): HostKernel {
  const isIf = node.attrs.bool("isIf");
  return ({ inputs: [choice, ...inputs], signal, deadlineMs }) => {
    invariant(choice && isTensor(choice), "a condition is a tensor");
    const index = isIf ? Number(isTrue(choice)) : branchIndex(choice, regions.length);
    return regions[index]!.runRegion(inputs, { signal, deadlineMs });
  };
}

/** An index out of range picks the last branch, as in TensorFlow. */
function branchIndex(choice: Tensor, count: number): number {
  const index = (choice.data as Int32Array)[0]!;
  return index >= 0 && index < count ? index : count - 1;
}

/** TensorFlow's truth: a scalar counts by its value (strings: non-empty), any other tensor by having elements. */
function isTrue({ dtype, shape, data }: Tensor): boolean {
  if (shape.length > 0) return elementCount(shape) > 0;
  if (dtype === "string") return (data as StringColumn).at(0).length > 0;
  return Number((data as Uint8Array)[0]) !== 0;
}

function loopKernel(node: GraphNode, [condition, body]: readonly BoundPlan[], clock: Clock): HostKernel {
  invariant(condition && body, "a loop has a condition and a body");
  const carried = node.attrs.int("carried");
  return ({ inputs, signal, deadlineMs }) => {
    const values = inputs.slice();
    const options: RegionOptions = { signal, deadlineMs };
    let turns = 0;
    let pauseAtMs = clock.nowMs() + PAUSE_MS;
    const store = (results: readonly HostValue[]): void => {
      for (let i = 0; i < carried; i++) values[i] = results[i]!;
    };
    const checkTurn = (): void => {
      signal?.throwIfAborted();
      if (++turns <= TURNS_MAX) return;
      throw new ServingError("RESOURCE_EXHAUSTED", `loop "${node.name}" did not end within ${TURNS_MAX} turns`);
    };
    /** Turns until the end, or until something must be waited for: then the promise of that, to go on after. */
    const runOn = (): readonly HostValue[] | Promise<readonly HostValue[]> => {
      for (;;) {
        checkTurn();
        const verdict = condition.runRegion(values, options);
        if (verdict instanceof Promise) return verdict.then((results) => turn(results));
        if (!isTrue(verdict[0] as Tensor)) return values.slice(0, carried);
        const results = body.runRegion(values, options);
        if (results instanceof Promise) return results.then(goOn);
        store(results);
        if (clock.nowMs() >= pauseAtMs) return nextTurn().then(resume);
      }
    };
    const resume = (): ReturnType<typeof runOn> => {
      pauseAtMs = clock.nowMs() + PAUSE_MS;
      return runOn();
    };
    const goOn = (results: readonly HostValue[]): ReturnType<typeof runOn> => {
      store(results);
      return clock.nowMs() >= pauseAtMs ? nextTurn().then(resume) : runOn();
    };
    const turn = (verdict: readonly HostValue[]): ReturnType<typeof runOn> => {
      if (!isTrue(verdict[0] as Tensor)) return values.slice(0, carried);
      const results = body.runRegion(values, options);
      return results instanceof Promise ? results.then(goOn) : goOn(results);
    };
    return runOn();
  };
}
