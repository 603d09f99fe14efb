import {
  type CancelSignal,
  type Clock,
  invariant,
  type Semaphore,
  ServingError,
  type TraceParent,
} from "@shardserve/core";
import {
  type DeviceStep,
  type GraphNode,
  type HostKernel,
  type HostState,
  type HostValue,
  type KernelTable,
  type PlannedLookup,
  refKey,
  type SignaturePlan,
  type TensorRef,
  tensorName,
} from "@shardserve/graph";
import type { RunResult, RunTimings } from "@shardserve/servable";
import { type DType, type Tensor, tensor, tfDTypeString } from "@shardserve/tensor";
import type { Checkpoint } from "../load/checkpoint.js";
import type { DeviceSession } from "../device/device.js";
import { controlKernel } from "./control.js";
import { BoundDeviceStep } from "./device-step.js";
import { type FrameValue, Run, type RunRequest, SlotMap } from "./frame.js";
import { BoundHostStep } from "./host-step.js";
import { BoundLookupStep, type TableLocation } from "./lookup-step.js";
import { RowsTally } from "../rows-report.js";

export interface BindContext {
  readonly kernels: KernelTable;
  readonly state: HostState;
  readonly checkpoint: Checkpoint;
  readonly clock: Clock;
  readonly runs: Semaphore;
  readonly locate: (plan: SignaturePlan, lookup: PlannedLookup) => TableLocation;
}

interface BoundStep {
  readonly kind: "host" | "lookup" | "device";
  run(run: Run): void | Promise<void>;
}

export interface PlanRunOptions {
  readonly outputs?: readonly string[] | undefined;
  readonly signal?: CancelSignal | undefined;
  readonly deadlineMs?: number | undefined;
  readonly isExplained?: boolean | undefined;
  readonly traceParent?: TraceParent | undefined;
  readonly epoch?: number | undefined;
  readonly isAlone?: (() => boolean) | undefined;
}

/** A plan that is ready to run: slots instead of names, sessions, kernels and row sources at hand. Runs may overlap. */
export class BoundPlan {
  readonly #plan: SignaturePlan;
  readonly #steps: readonly BoundStep[];
  readonly #template: readonly FrameValue[];
  readonly #inputSlots: Int32Array;
  readonly #outputSlots: ReadonlyMap<string, number>;
  readonly #needed: NeededSteps;
  /** Several device steps one after the other would hold the event loop for their sum. */
  readonly #hasOneDeviceStep: boolean;
  readonly #clock: Clock;
  /** Outputs that are inputs as well. */
  readonly #fedOutputs: ReadonlySet<string>;
  /** Dtypes of quantised outputs: what an engine gives are plain integers. */
  readonly #quantized: ReadonlyMap<string, DType>;

  private constructor(
    plan: SignaturePlan,
    steps: readonly BoundStep[],
    template: readonly FrameValue[],
    slots: SlotMap,
    clock: Clock,
  ) {
    this.#plan = plan;
    this.#steps = steps;
    this.#template = template;
    this.#inputSlots = Int32Array.from(plan.inputs, ({ ref }) => slots.of(ref));
    this.#outputSlots = new Map(plan.outputs.map(({ alias, ref }) => [alias, slots.of(ref)]));
    this.#needed = new NeededSteps(plan);
    this.#hasOneDeviceStep = steps.filter(({ kind }) => kind === "device").length === 1;
    this.#fedOutputs = new Set(plan.outputs.filter(({ isFed }) => isFed).map(({ alias }) => alias));
    this.#quantized = new Map(
      plan.outputs.filter(({ dtype }) => dtype.startsWith("q")).map(({ alias, dtype }) => [alias, dtype]),
    );
    this.#clock = clock;
  }

  /** @param sessions  one for every device step, those of loops and branches included */
  static async bind(
    plan: SignaturePlan,
    sessions: ReadonlyMap<DeviceStep, DeviceSession>,
    context: BindContext,
  ): Promise<BoundPlan> {
    invariant(plan.unsupported.length === 0, `the plan of ${plan.signature} has unsupported nodes`);
    const { clock, runs } = context;
    const slots = new SlotMap();
    const template: FrameValue[] = [];
    const rowSlots = new Set(plan.lookups.map(({ rows }) => slots.of(rows)));
    const outputCount = readOutputs(plan);
    const steps: BoundStep[] = [];
    const controls = new Map<string, HostKernel>();
    for (const [name, control] of plan.controls) {
      const regions: BoundPlan[] = [];
      for (const region of control.regions) regions.push(await BoundPlan.bind(region, sessions, context));
      controls.set(name, controlKernel(control, regions, clock, context.kernels));
    }
    const kernelOf = (node: GraphNode): HostKernel | undefined =>
      controls.get(node.name) ?? context.kernels.get(node.op);
    for (const step of plan.steps) {
      if (step.kind === "host") {
        const bound = await BoundHostStep.bind(step, slots, template, { ...context, kernelOf, outputCount });
        steps.push({ kind: "host", run: (run) => bound.run(run) });
      } else if (step.kind === "lookup") {
        const bound = new BoundLookupStep(step, slots, (lookup) => context.locate(plan, lookup));
        steps.push({ kind: "lookup", run: (run) => bound.run(run) });
      } else {
        const session = sessions.get(step);
        invariant(session, "a session per device step");
        const bound = new BoundDeviceStep(step, session, slots, rowSlots, clock, runs);
        steps.push({ kind: "device", run: (run) => bound.run(run) });
      }
    }
    for (const { ref } of [...plan.inputs, ...plan.outputs]) slots.of(ref);
    // Dense and of full length, so that a copy of it is a plain array.
    const full = Array.from({ length: slots.size }, (_, slot) => template[slot]);
    return new BoundPlan(plan, steps, full, slots, clock);
  }

  /** @throws ServingError INVALID_ARGUMENT for missing inputs or outputs and wrong dtypes; whatever a step throws */
  async run(inputs: ReadonlyMap<string, Tensor>, options: PlanRunOptions): Promise<RunResult> {
    const { signal, deadlineMs, isExplained = false, traceParent, epoch } = options;
    const request = { signal, deadlineMs, isExplained, traceParent, epoch, rows: new RowsTally() };
    const run = new Run(this.#template, request, this.#hasOneDeviceStep ? options.isAlone : undefined);
    const timings = { host: 0, lookup: 0, device: 0 };
    this.#feed(inputs, run);
    const wanted = options.outputs ?? [...this.#outputSlots.keys()];
    if (this.#fedOutputs.size > 0) this.#refuseFed(wanted);
    const needed = this.#needed.of(wanted);
    try {
      let atMs = this.#clock.nowMs();
      for (let i = 0; i < this.#steps.length; i++) {
        if (needed[i] === 0) continue;
        const step = this.#steps[i]!;
        const pending = step.run(run);
        if (pending) {
          await pending;
          signal?.throwIfAborted();
        }
        const nowMs = this.#clock.nowMs();
        timings[step.kind] += nowMs - atMs;
        atMs = nowMs;
      }
      return this.#result(run, wanted, { hostMs: timings.host, lookupMs: timings.lookup, deviceMs: timings.device });
    } finally {
      run.end();
    }
  }

  /**
   * Runs the plan of a branch or a loop's condition or body: values go in and come out by position. A promise only where
   * something must be waited for.
   *
   * @param request  of the run that the branch or loop is part of
   */
  runRegion(inputs: readonly HostValue[], request: RunRequest): readonly HostValue[] | Promise<readonly HostValue[]> {
    const run = new Run(this.#template, request);
    for (let i = 0; i < inputs.length; i++) run.values[this.#inputSlots[i]!] = inputs[i];
    let pending: Promise<readonly HostValue[]> | undefined;
    try {
      const waiting = this.#runSteps(0, run);
      if (!waiting) return this.#regionResult(run);
      pending = waiting.then(() => this.#regionResult(run));
    } finally {
      if (!pending) run.end();
    }
    return pending.finally(() => run.end());
  }

  #runSteps(start: number, run: Run): void | Promise<void> {
    for (let i = start; i < this.#steps.length; i++) {
      const pending = this.#steps[i]!.run(run);
      if (!pending) continue;
      return pending.then(() => {
        run.request.signal?.throwIfAborted();
        return this.#runSteps(i + 1, run);
      });
    }
  }

  #regionResult(run: Run): HostValue[] {
    const results: HostValue[] = [];
    for (const slot of this.#outputSlots.values()) results.push(run.forHost(slot));
    return results;
  }

  #feed(inputs: ReadonlyMap<string, Tensor>, run: Run): void {
    const { inputs: expected, signature } = this.#plan;
    for (let i = 0; i < expected.length; i++) {
      const { alias, dtype } = expected[i]!;
      const value = inputs.get(alias);
      if (!value) throw new ServingError("INVALID_ARGUMENT", `signature "${signature}" needs input "${alias}"`);
      if (value.dtype !== dtype) {
        throw new ServingError(
          "INVALID_ARGUMENT",
          `Expects arg[${i}] to be ${tfDTypeString(dtype)} but ${tfDTypeString(value.dtype)} is provided`,
        );
      }
      run.values[this.#inputSlots[i]!] = value;
    }
  }

  #refuseFed(wanted: readonly string[]): void {
    const fed = wanted.find((alias) => this.#fedOutputs.has(alias));
    if (fed === undefined) return;
    const ref = this.#plan.inputs.find((input) => input.alias === fed)?.ref;
    throw new ServingError("INVALID_ARGUMENT", `${ref ? tensorName(ref) : fed} is both fed and fetched.`);
  }

  #result(run: Run, wanted: readonly string[], timings: RunTimings): RunResult {
    const outputs = new Map<string, Tensor>();
    for (const alias of wanted) {
      const value = run.tensor(this.#outputSlots.get(alias)!);
      const dtype = this.#quantized.get(alias);
      outputs.set(alias, dtype === undefined ? value : tensor(dtype, value.shape, value.data as never));
    }
    const report = run.request.rows.report();
    return { outputs, ...(report && { report }), timings };
  }
}

/** Which steps lead to which outputs. Plans that change state run whole. */
class NeededSteps {
  readonly #plan: SignaturePlan;
  readonly #known = new Map<string, Uint8Array>();
  /** Sets of outputs come from requests: no more than this many are remembered. */
  static readonly #knownMax = 64;

  constructor(plan: SignaturePlan) {
    this.#plan = plan;
  }

  of(aliases: readonly string[]): Uint8Array {
    const key = aliases.join("\0");
    const known = this.#known.get(key);
    if (known) return known;
    const needed = this.#compute(aliases);
    if (this.#known.size < NeededSteps.#knownMax) this.#known.set(key, needed);
    return needed;
  }

  #compute(aliases: readonly string[]): Uint8Array {
    const { steps, outputs, signature, mutableVariables } = this.#plan;
    const values = new Set<string>();
    for (const alias of aliases) {
      const output = outputs.find((candidate) => candidate.alias === alias);
      if (!output) {
        throw new ServingError("INVALID_ARGUMENT", `signature "${signature}" has no output "${alias}"`);
      }
      values.add(refKey(output.ref));
    }
    const needed = new Uint8Array(steps.length);
    if (aliases.length === outputs.length || mutableVariables.size > 0) return needed.fill(1);
    for (let i = steps.length - 1; i >= 0; i--) {
      const step = steps[i]!;
      const made = step.kind === "lookup" ? step.lookups.flatMap(({ rows, slots }) => [rows, slots]) : step.outputs;
      // A step that makes nothing is there for its effect: an Assert.
      if (made.length > 0 && !made.some((ref) => values.has(refKey(ref)))) continue;
      needed[i] = 1;
      const read = step.kind === "lookup" ? step.lookups.map(({ ids }) => ids) : step.inputs;
      for (const ref of read) values.add(refKey(ref));
    }
    return needed;
  }
}

/** How many outputs of each node somebody reads: one more than the highest index. */
function readOutputs(plan: SignaturePlan): (node: GraphNode) => number {
  const counts = new Map<string, number>();
  const read = ({ node, index }: TensorRef) => counts.set(node, Math.max(counts.get(node) ?? 0, index + 1));
  for (const node of plan.graph.values()) for (const ref of node.inputs) read(ref);
  for (const { ref } of plan.outputs) read(ref);
  return (node) => counts.get(node.name) ?? 0;
}
