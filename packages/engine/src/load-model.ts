import { access } from "node:fs/promises";
import { join } from "node:path";
import { Semaphore, ServingError, silentLogger, systemClock } from "@shardserve/core";
import {
  type CutPolicy,
  type HostState,
  importModel,
  type KernelTable,
  type ModelGraph,
  type PlannedLookup,
  type PlannedTable,
  planInit,
  planSignature,
  plansWithin,
  type Shape,
  type SignaturePlan,
} from "@shardserve/graph";
import { hostKernels } from "@shardserve/host-ops";
import { deviceSupports } from "@shardserve/onnx";
import { MANIFEST_FILE } from "@shardserve/rowstore";
import {
  assets,
  type Bindings,
  initOp,
  objectKeys,
  readSavedModel,
  type SavedModel,
  selectMetaGraph,
  variableBindings,
} from "@shardserve/savedmodel";
import type { Model, RunOptions, RunResult, SignatureInfo } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import { type BindContext, BoundPlan } from "./bound-plan.js";
import { Checkpoint } from "./checkpoint.js";
import { emptyState, restoreTables, restoreVariables } from "./initialise.js";
import type { TableLocation } from "./lookup-step.js";
import type { LoadModelOptions } from "./options.js";
import { SessionPool } from "./session-pool.js";
import { signatureInfos, signatureMetadata, withGraphDTypes } from "./signature-info.js";
import { type PlanVariant, SignatureRunner } from "./signature-runner.js";

const DEFAULT_LIMITS = { concurrentRuns: 4, waitingRuns: 1024, planVariants: 16 };

/**
 * Loads a SavedModel: reads it, restores its variables, plans every signature, opens engine sessions over the mapped
 * checkpoint and runs the init op. The same plans are made whether rows come from shards or from this machine, so both
 * give the same bits.
 *
 * A signature with an op that nothing here can run answers UNIMPLEMENTED; when all are like that, the load fails.
 *
 * @throws ServingError SAVED_MODEL_INVALID, CHECKPOINT_INVALID, GRAPH_INVALID, OP_UNSUPPORTED; the signal's reason
 */
export async function loadModel(options: LoadModelOptions): Promise<Model> {
  const loader = new Loader(options);
  try {
    return await loader.load();
  } catch (error) {
    await loader.close();
    throw error;
  }
}

class Loader {
  readonly #options: LoadModelOptions;
  readonly #kernels: KernelTable;
  readonly #sharded: ReadonlyMap<string, number>;
  readonly #state: HostState = emptyState();
  #checkpoint: Checkpoint | undefined;
  #sessions: SessionPool | undefined;

  constructor(options: LoadModelOptions) {
    this.#options = options;
    this.#kernels = options.kernels ?? hostKernels;
    this.#sharded = new Map(options.rowSource?.tables.map((table, i) => [table.checkpointKey, i]));
  }

  async load(): Promise<Model> {
    const { dir, tags, ort, rowSource, signal, logger = silentLogger } = this.#options;
    const limits = { ...DEFAULT_LIMITS, ...this.#options.limits };
    const savedModel = await readSavedModel(dir, { ...(signal && { signal }) });
    const metaGraph = selectMetaGraph(savedModel, tags);
    const checkpoint = await Checkpoint.open(savedModel.variablesPrefix, rowSource, signal);
    this.#checkpoint = checkpoint;
    const bindings = await this.#bindings(savedModel, metaGraph, checkpoint);
    const model = importModel(withGraphDTypes(metaGraph), {
      bindings: bindings.variables,
      entries: checkpoint.tensors,
      initOp: initOp(metaGraph),
    });
    signal?.throwIfAborted();

    const plans = new Map<string, SignaturePlan>();
    const broken = new Map<string, string>(model.broken);
    for (const name of model.signatures.keys()) {
      const plan = this.#plan(model, name);
      const reason = unsupportedText(plan);
      if (reason === undefined) plans.set(name, plan);
      else broken.set(name, reason);
      await yieldToLoop();
      signal?.throwIfAborted();
    }
    if (plans.size === 0 && broken.size > 0) {
      throw new ServingError(
        "OP_UNSUPPORTED",
        `no signature of ${dir} can be served: ${[...broken.values()].join("; ")}`,
      );
    }
    for (const [name, reason] of broken) logger.warn({ signature: name, dir }, `signature cannot be served: ${reason}`);

    const context: BindContext = {
      kernels: this.#kernels,
      state: this.#state,
      checkpoint,
      clock: this.#options.clock ?? systemClock,
      runs: new Semaphore(limits.concurrentRuns, limits.waitingRuns),
      locate: (plan, lookup) => this.#locate(plan, lookup),
    };
    await this.#initialise(
      savedModel,
      model,
      metaGraphAssets(savedModel, metaGraph),
      [...plans.values()],
      bindings,
      context,
    );
    this.#sessions = new SessionPool(ort, checkpoint);
    const variants = await this.#bind([...plans.values()], context);
    const stateLock = new Semaphore(1, limits.waitingRuns);
    const runners = new Map<string, SignatureRunner>();
    for (const [i, name] of [...plans.keys()].entries()) {
      const make = async (shapes: ReadonlyMap<string, Shape>): Promise<PlanVariant> => {
        const plan = this.#plan(model, name, shapes);
        const reason = unsupportedText(plan);
        if (reason !== undefined) throw new ServingError("INVALID_ARGUMENT", `inputs of these shapes: ${reason}`);
        return (await this.#bind([plan], context))[0]!;
      };
      runners.set(name, new SignatureRunner(variants[i]!, make, limits.planVariants, stateLock));
    }
    signal?.throwIfAborted();
    return new LoadedModel(signatureInfos(metaGraph, model), signatureMetadata(metaGraph), runners, broken, () =>
      this.close(),
    );
  }

  async close(): Promise<void> {
    await this.#sessions?.close();
    await this.#checkpoint?.close();
    await this.#options.rowSource?.close();
    this.#state.resources.clear();
    this.#state.variables.clear();
  }

  async #bindings(
    savedModel: SavedModel,
    metaGraph: Parameters<typeof variableBindings>[0],
    checkpoint: Checkpoint,
  ): Promise<Bindings> {
    if (savedModel.variablesPrefix === undefined || !checkpoint.reader) {
      return { variables: new Map(), tables: new Map(), unbound: [] };
    }
    const { signal } = this.#options;
    const keys = await objectKeys(metaGraph, checkpoint.reader, { ...(signal && { signal }) });
    const isExported = this.#options.rowSource !== undefined || (await hasManifest(savedModel.dir));
    return variableBindings(metaGraph, isExported ? new LeftOut(checkpoint.tensors) : checkpoint.tensors, keys);
  }

  #plan(model: ModelGraph, signature: string, inputShapes?: ReadonlyMap<string, Shape>): SignaturePlan {
    return planSignature(model, signature, {
      kernels: this.#kernels,
      device: { supports: deviceSupports },
      cut: (table) => this.#cutPolicy(table),
      ...(inputShapes && { inputShapes }),
    });
  }

  #cutPolicy(table: PlannedTable): CutPolicy {
    if (this.#sharded.has(table.checkpointKey)) return "always";
    return this.#checkpoint!.hasLocalTable(table) ? "cheap" : "never";
  }

  #locate(plan: SignaturePlan, lookup: PlannedLookup): TableLocation {
    const table = this.#sharded.get(lookup.checkpointKey);
    if (table !== undefined) return { source: this.#options.rowSource!, table };
    const planned = plan.tables.find(({ checkpointKey }) => checkpointKey === lookup.checkpointKey);
    return { source: this.#checkpoint!.table(planned!), table: 0 };
  }

  async #initialise(
    savedModel: SavedModel,
    model: ModelGraph,
    assetPaths: ReadonlyMap<string, string>,
    plans: readonly SignaturePlan[],
    bindings: Bindings,
    context: BindContext,
  ): Promise<void> {
    const init = planInit(model, { kernels: this.#kernels, assets: assetPaths });
    await restoreVariables(init ? [init, ...plans] : plans, this.#state, context.checkpoint);
    await restoreTables(bindings.tables, plans, model, this.#kernels, this.#state, context.checkpoint);
    if (!init) return;
    const reason = unsupportedText(init);
    if (reason !== undefined)
      throw new ServingError("OP_UNSUPPORTED", `${savedModel.dir} cannot be initialised: ${reason}`);
    const bound = await BoundPlan.bind(init, new Map(), context);
    await bound.run(new Map(), { signal: this.#options.signal });
  }

  async #bind(plans: readonly SignaturePlan[], context: BindContext): Promise<PlanVariant[]> {
    const steps = plans.flatMap((whole) =>
      [...plansWithin(whole)].flatMap(({ steps: own, infos }) =>
        own.flatMap((step) => (step.kind === "device" ? [{ step, infos }] : [])),
      ),
    );
    const opened = await this.#sessions!.open(steps);
    const sessions = new Map(steps.map(({ step }, i) => [step, opened[i]!]));
    const variants: PlanVariant[] = [];
    for (const plan of plans) {
      const bound = await BoundPlan.bind(plan, sessions, context);
      variants.push({ inputs: plan.inputs, bound, isStateful: plan.mutableVariables.size > 0 });
    }
    return variants;
  }
}

/**
 * Variables of an exported version. The export leaves out what no signature reads, although the restore op still names
 * it: such names count as present, and fail only if a plan reads them after all.
 */
class LeftOut extends Map<string, { readonly size: number; readonly crc32c: number }> {
  override has(): boolean {
    return true;
  }
}

function hasManifest(dir: string): Promise<boolean> {
  return access(join(dir, MANIFEST_FILE)).then(
    () => true,
    () => false, // a plain SavedModel
  );
}

/** Asset paths by the name of the tensor that takes each. */
function metaGraphAssets(savedModel: SavedModel, metaGraph: Parameters<typeof assets>[1]): Map<string, string> {
  return new Map(assets(savedModel, metaGraph).map(({ tensorName, path }) => [tensorName, path]));
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

function yieldToLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

class LoadedModel implements Model {
  readonly signatures: ReadonlyMap<string, SignatureInfo>;
  readonly metadata: Uint8Array;
  readonly #runners: ReadonlyMap<string, SignatureRunner>;
  readonly #broken: ReadonlyMap<string, string>;
  readonly #release: () => Promise<void>;
  #closed: Promise<void> | undefined;

  constructor(
    signatures: ReadonlyMap<string, SignatureInfo>,
    metadata: Uint8Array,
    runners: ReadonlyMap<string, SignatureRunner>,
    broken: ReadonlyMap<string, string>,
    release: () => Promise<void>,
  ) {
    this.signatures = signatures;
    this.metadata = metadata;
    this.#runners = runners;
    this.#broken = broken;
    this.#release = release;
  }

  async run(signature: string, inputs: ReadonlyMap<string, Tensor>, options: RunOptions): Promise<RunResult> {
    const runner = this.#runners.get(signature);
    if (runner) return runner.run(inputs, options);
    const reason = this.#broken.get(signature);
    if (reason !== undefined) throw new ServingError("OP_UNSUPPORTED", reason);
    throw new ServingError("NOT_FOUND", `the model has no signature "${signature}"`);
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#release());
  }
}
