import { type Clock, isServingError, type Logger, runInTurns, Semaphore, ServingError } from "@shardserve/core";
import {
  type CutPolicy,
  type DeviceStep,
  firstOfEqual,
  type HostState,
  type KernelTable,
  type ModelGraph,
  type PlannedLookup,
  type PlannedTable,
  planInitInTurns,
  planSignatureInTurns,
  plansWithin,
  type Shape,
  type Signature,
  type SignaturePlan,
} from "@shardserve/graph";
import type { RowSource } from "@shardserve/rowstore";
import type { TableBinding } from "@shardserve/savedmodel";
import { type BindContext, BoundPlan } from "./steps/bound-plan.js";
import type { Checkpoint } from "./load/checkpoint.js";
import type { Device, DeviceSession, PlannedDeviceStep } from "./device/device.js";
import { deviceError } from "./device/device-error.js";
import { emptyState, makeAhead, restoreEnsembles, restoreTables, restoreVariables } from "./load/initialise.js";
import type { Runner } from "./load/loaded-model.js";
import type { TableLocation } from "./steps/lookup-step.js";
import type { EngineLimits, LoadModelOptions, LoadPace } from "./load/options.js";
import { type PlanVariant, SignatureRunner } from "./steps/signature-runner.js";

/** What clients that name no signature ask. */
const DEFAULT_SIGNATURE = "serving_default";

/** What a node of the graph takes once it is compiled: here, where 2 to 4 KiB were measured, and in the engine. */
const COMPILED_NODE_BYTES = 5 * 1024;

export interface SegmentedModelOptions {
  readonly model: ModelGraph;
  readonly device: Device;
  readonly checkpoint: Checkpoint;
  readonly kernels: KernelTable;
  readonly rowSource: RowSource | undefined;
  /** Absolute path of each asset by the name of the tensor that takes it. */
  readonly assets: ReadonlyMap<string, string>;
  /** Mutable tables that the checkpoint fills. */
  readonly tables: ReadonlyMap<string, TableBinding>;
  /** Checkpoint keys of serialised tree ensembles by node name. */
  readonly ensembles: ReadonlyMap<string, string>;
  readonly limits: Required<EngineLimits>;
  readonly clock: Clock;
  readonly pace: LoadPace | undefined;
  readonly signal: AbortSignal | undefined;
  readonly logger: Logger;
  readonly onPlanned: LoadModelOptions["onPlanned"];
  /** Of the graph and its functions. */
  readonly nodeCount: number;
  /** What error texts call the model. */
  readonly dir: string;
}

/** A model whose signatures run as host steps, lookups and device steps in turn. */
export class SegmentedModel {
  /** Signatures that cannot be served, with the reason. */
  readonly broken: ReadonlyMap<string, string>;
  readonly #options: SegmentedModelOptions;
  readonly #plans: ReadonlyMap<string, SignaturePlan>;
  readonly #sharded: ReadonlyMap<string, number>;
  readonly #state: HostState;

  private constructor(
    options: SegmentedModelOptions,
    plans: ReadonlyMap<string, SignaturePlan>,
    broken: ReadonlyMap<string, string>,
  ) {
    this.#options = options;
    this.#plans = plans;
    this.broken = broken;
    this.#state = emptyState(options.dir);
    this.#sharded = shardedTables(options.rowSource);
  }

  /** Plans every signature; opens nothing. */
  static async plan(options: SegmentedModelOptions): Promise<SegmentedModel> {
    const { model, pace, signal } = options;
    const plans = new Map<string, SignaturePlan>();
    const broken = new Map<string, string>(model.broken);
    const made = new Map<string, SignaturePlan>();
    const first = await runInTurns(firstOfEqual(model), signal, pace && (() => pace.pause()));
    for (const [name, signature] of model.signatures) {
      const equal = made.get(first.get(name)!);
      const plan = equal ? renamed(equal, signature) : await planOf(options, name, undefined, { pace, signal });
      made.set(name, plan);
      const reason = unsupportedText(plan);
      if (reason === undefined) plans.set(name, plan);
      else broken.set(name, reason);
    }
    return new SegmentedModel(options, plans, broken);
  }

  /**
   * Restores variables and tables, runs the init op and opens engine sessions.
   *
   * @throws ServingError OP_UNSUPPORTED when the init op needs what nothing here can run
   */
  async load(): Promise<ReadonlyMap<string, Runner>> {
    const { kernels, checkpoint, clock, limits } = this.#options;
    const context: BindContext = {
      kernels,
      state: this.#state,
      checkpoint,
      clock,
      runs: new Semaphore(limits.concurrentRuns, limits.waitingRuns),
      locate: (plan, lookup) => this.#locate(plan, lookup),
    };
    await this.#initialise([...this.#plans.values()], context);
    const variants = await this.#bindEach(context);
    const stateLock = new Semaphore(1, limits.waitingRuns);
    const runners = new Map<string, Runner>();
    for (const [name, variant] of variants) {
      if (variant instanceof ServingError) {
        runners.set(name, { refusal: variant.message, run: () => Promise.reject(variant) });
        continue;
      }
      const make = async (shapes: ReadonlyMap<string, Shape>): Promise<PlanVariant> => {
        const plan = await planOf(this.#options, name, shapes);
        const reason = unsupportedText(plan);
        if (reason !== undefined) throw new ServingError("INVALID_ARGUMENT", `inputs of these shapes: ${reason}`);
        return (await this.#bind([plan], context))[0]!;
      };
      runners.set(name, new SignatureRunner(variant, make, limits.planVariants, stateLock));
    }
    return runners;
  }

  async close(): Promise<void> {
    await this.#options.device.close();
    this.#state.resources.clear();
    this.#state.variables.clear();
  }

  #locate(plan: SignaturePlan, lookup: PlannedLookup): TableLocation {
    const { rowSource, checkpoint } = this.#options;
    const table = this.#sharded.get(lookup.checkpointKey);
    if (table !== undefined) return { source: rowSource!, table };
    const planned = plan.tables.find(({ checkpointKey }) => checkpointKey === lookup.checkpointKey);
    return checkpoint.table(planned!);
  }

  async #initialise(plans: readonly SignaturePlan[], context: BindContext): Promise<void> {
    const { model, kernels, assets, tables, ensembles, pace, signal, dir } = this.#options;
    const init = await planInitInTurns(model, {
      kernels,
      assets,
      pause: pace && (() => pace.pause()),
      ...(signal && { signal }),
    });
    await restoreVariables(init ? [init, ...plans] : plans, this.#state, context.checkpoint);
    await restoreTables(tables, plans, model, kernels, this.#state, context.checkpoint);
    await restoreEnsembles(ensembles, plans, model, kernels, this.#state, context.checkpoint);
    await makeAhead(plans, kernels, this.#state, signal);
    if (!init) return;
    const reason = unsupportedText(init);
    if (reason !== undefined) throw new ServingError("OP_UNSUPPORTED", `${dir} cannot be initialised: ${reason}`);
    const bound = await BoundPlan.bind(init, new Map(), context);
    await bound.run(new Map(), { signal });
  }

  /**
   * Every signature's plan, ready to run, or what its requests are refused with: a graph that contradicts its checkpoint is
   * an error of those who run it, as in TensorFlow.
   *
   * @throws ServingError what is wrong with the default signature, or with all
   */
  async #bindEach(context: BindContext): Promise<Map<string, PlanVariant | ServingError>> {
    const names = [...this.#plans.keys()];
    const plans = [...this.#plans.values()];
    try {
      const variants = await this.#bind(plans, context, this.#options);
      return new Map(names.map((name, i) => [name, variants[i]!]));
    } catch (error) {
      if (!isOfGraph(error) || plans.length === 1) throw error;
    }
    const variants = new Map<string, PlanVariant | ServingError>();
    const { signal, logger, dir } = this.#options;
    for (const [i, name] of names.entries()) {
      try {
        variants.set(name, (await this.#bind([plans[i]!], context, { signal }))[0]!);
      } catch (error) {
        if (!isOfGraph(error) || name === DEFAULT_SIGNATURE) throw error;
        const text = `signature "${name}" cannot be served: ${error.message}`;
        logger.error({ signature: name, dir }, text);
        variants.set(name, new ServingError(error.code, text, { cause: error }));
      }
    }
    const [[, first]] = variants as unknown as [[string, PlanVariant | ServingError]];
    if (first instanceof ServingError && [...variants.values()].every((one) => one instanceof ServingError))
      throw first;
    return variants;
  }

  async #bind(
    plans: readonly SignaturePlan[],
    context: BindContext,
    { signal, onPlanned }: Partial<Pick<SegmentedModelOptions, "signal" | "onPlanned">> = {},
  ): Promise<PlanVariant[]> {
    const planned = new Map<DeviceStep, PlannedDeviceStep>();
    for (const whole of plans) {
      for (const { steps, infos } of plansWithin(whole)) {
        for (const step of steps) if (step.kind === "device") planned.set(step, { step, infos });
      }
    }
    const { device, nodeCount } = this.#options;
    const opened = await device.open([...planned.values()], (copiedBytes) =>
      onPlanned?.(copiedBytes + nodeCount * COMPILED_NODE_BYTES),
    );
    const sessions = new Map([...planned.keys()].map((step, i): [DeviceStep, DeviceSession] => [step, opened[i]!]));
    const variants: PlanVariant[] = [];
    for (const plan of plans) {
      const bound = await BoundPlan.bind(plan, sessions, context);
      variants.push({ inputs: plan.inputs, bound, isStateful: plan.mutableVariables.size > 0 });
    }
    await context.checkpoint.verifyInPlace(signal);
    return variants;
  }
}

/** True of what an engine says of a graph that it cannot make sense of; false of what may be otherwise at another time. */
function isOfGraph(error: unknown): error is ServingError {
  return isServingError(deviceError(error), "ENGINE_FAILED", "INVALID_ARGUMENT");
}

/** The plan of a signature that computes the same under another name; it shares the steps, and with them their sessions. */
function renamed(plan: SignaturePlan, { name, method }: Signature): SignaturePlan {
  return {
    ...plan,
    signature: name,
    method,
    unsupported: plan.unsupported.map((node) => ({ ...node, signature: name })),
  };
}

function planOf(
  { model, kernels, device, checkpoint, rowSource }: SegmentedModelOptions,
  signature: string,
  inputShapes?: ReadonlyMap<string, Shape>,
  { pace, signal }: Partial<Pick<SegmentedModelOptions, "pace" | "signal">> = {},
): Promise<SignaturePlan> {
  const sharded = shardedTables(rowSource);
  const cut = (table: PlannedTable): CutPolicy => {
    if (sharded.has(table.checkpointKey)) return "always";
    return checkpoint.hasLocalTable(table) ? "cheap" : "never";
  };
  return planSignatureInTurns(model, signature, {
    kernels,
    device,
    cut,
    ...(inputShapes && { inputShapes }),
    ...(signal && { signal }),
    ...(pace && { pause: () => pace.pause() }),
  });
}

function shardedTables(rowSource: RowSource | undefined): Map<string, number> {
  return new Map(rowSource?.tables.map((table, i) => [table.checkpointKey, i]));
}

/** How many of a plan's problems an error names. */
const UNSUPPORTED_SHOWN = 5;

function unsupportedText({ unsupported }: SignaturePlan): string | undefined {
  if (unsupported.length === 0) return undefined;
  const shown = unsupported
    .slice(0, UNSUPPORTED_SHOWN)
    .map(({ op, node, signature, why }) => `signature "${signature}" needs op ${op} of node "${node}": ${why}`);
  const rest = unsupported.length - shown.length;
  return `${shown.join("; ")}${rest > 0 ? `; and ${rest} more` : ""}`;
}
