import { setImmediate as nextTurn } from "node:timers/promises";
import { type Clock, invariant, ServingError } from "@shardserve/core";
import {
  Attrs,
  type ControlPlan,
  type GraphNode,
  type HostKernel,
  type HostValue,
  isTensor,
  type KernelCall,
  type KernelTable,
  refKey,
  type ValueInfo,
} from "@shardserve/graph";
import { elementCount, type NumericDType, type StringColumn, strings, type Tensor, zeros } from "@shardserve/tensor";
import type { BoundPlan } from "./bound-plan.js";
import { Run, type RunRequest } from "./frame.js";

/** A loop that took this many turns is not going to end; TensorFlow would go on for ever. */
const TURNS_MAX = 100_000_000;
/** Loops let other work through this often. */
const PAUSE_MS = 8;

/** The kernel of a `Branch` or `Loop` node whose regions are bound. */
export function controlKernel(
  control: ControlPlan,
  regions: readonly BoundPlan[],
  clock: Clock,
  kernels: KernelTable,
): HostKernel {
  return control.node.op === "Branch"
    ? branchKernel(control.node, regions)
    : loopKernel(control, regions, clock, kernels);
}

function branchKernel(node: GraphNode, regions: readonly BoundPlan[]): HostKernel {
  const isIf = node.attrs.bool("isIf");
  return ({ inputs: [choice, ...inputs], run }) => {
    invariant(choice && isTensor(choice), "a condition is a tensor");
    const index = isIf ? Number(isTrue(choice)) : branchIndex(choice, regions.length);
    return regions[index]!.runRegion(inputs, requestOf(run));
  };
}

function requestOf(run: object | undefined): RunRequest {
  invariant(run instanceof Run, "branches and loops are part of a run");
  return run.request;
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

function loopKernel(
  { node, regions: plans }: ControlPlan,
  [condition, body]: readonly BoundPlan[],
  clock: Clock,
  kernels: KernelTable,
): HostKernel {
  invariant(condition && body, "a loop has a condition and a body");
  const carried = node.attrs.int("carried");
  const stackedInfos = plans[1]!.outputs.slice(carried).map(({ ref }) => plans[1]!.infos.get(refKey(ref)));
  const limits = node.attrs.has("limits") ? node.attrs.ints("limits") : [];
  return (call) => {
    const { inputs, signal } = call;
    const values = inputs.slice();
    const stacks = stackedInfos.map((): Tensor[] => []);
    const limit = Math.min(TURNS_MAX, ...limits.map((input) => integerOf(inputs[input]!)));
    const request = requestOf(call.run);
    let turns = 0;
    let pauseAtMs = clock.nowMs() + PAUSE_MS;
    const store = (results: readonly HostValue[]): void => {
      for (let i = 0; i < carried; i++) values[i] = results[i]!;
      for (let i = 0; i < stacks.length; i++) stacks[i]!.push(results[carried + i] as Tensor);
    };
    const isOver = (verdict: readonly HostValue[]): boolean => {
      signal?.throwIfAborted();
      if (!isTrue(verdict[0] as Tensor)) return true;
      if (++turns <= limit) return false;
      if (limit === TURNS_MAX)
        throw new ServingError("RESOURCE_EXHAUSTED", `loop "${node.name}" did not end within ${TURNS_MAX} turns`);
      throw new ServingError(
        "INVALID_ARGUMENT",
        `Trying to modify element ${limit} in a list with ${Math.max(limit, 0)} elements.`,
      );
    };
    const finish = (): readonly HostValue[] | Promise<readonly HostValue[]> => {
      const last = values.slice(0, carried);
      if (stacks.length === 0) return last;
      const packed = stacks.map((items, i) => stack(items, stackedInfos[i], call, kernels));
      return [...last, ...packed];
    };
    /** Turns until the end, or until something must be waited for: then the promise of that, to go on after. */
    const runOn = (): readonly HostValue[] | Promise<readonly HostValue[]> => {
      for (;;) {
        const verdict = condition.runRegion(values, request);
        if (verdict instanceof Promise) return verdict.then(turn);
        if (isOver(verdict)) return finish();
        const results = body.runRegion(values, request);
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
      if (isOver(verdict)) return finish();
      const results = body.runRegion(values, request);
      return results instanceof Promise ? results.then(goOn) : goOn(results);
    };
    return runOn();
  };
}

function integerOf(value: HostValue): number {
  invariant(isTensor(value), "the length of a list is a tensor");
  return Number((value.data as Int32Array)[0]);
}

/** Values of all turns as one tensor [turns, ...]. Without a turn, dimensions that nothing tells are 0. */
function stack(
  items: readonly Tensor[],
  info: ValueInfo | undefined,
  call: KernelCall,
  kernels: KernelTable,
): HostValue {
  const dtype = items[0]?.dtype ?? info?.dtype;
  invariant(dtype, "a stacked value has a dtype");
  if (items.length === 0) {
    const shape = [0, ...(info?.shape ?? []).map((dim) => Math.max(dim, 0))];
    if (dtype === "string") return strings(shape, []);
    return zeros(dtype as NumericDType, shape);
  }
  const attrs = new Attrs("Pack", { N: items.length, T: dtype, axis: 0 });
  const packed = kernels.get("Pack")!({ ...call, node: { ...call.node, op: "Pack", attrs }, inputs: items });
  invariant(!(packed instanceof Promise), "Pack waits for nothing");
  return packed[0]!;
}
