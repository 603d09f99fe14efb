import type { MetaGraphDef } from "@shardserve/api";
import { Semaphore, silentLogger, systemClock } from "@shardserve/core";
import { importModelInTurns, type ModelGraph, readSignatures, wholeGraph } from "@shardserve/graph";
import { hostKernels } from "@shardserve/host-ops";
import type { TensorFlow } from "@shardserve/native";
import { assets, type Bindings, initOp, type SavedModel } from "@shardserve/savedmodel";
import type { Checkpoint } from "./checkpoint.js";
import type { Device } from "../device/device.js";
import type { Runner } from "./loaded-model.js";
import { DEFAULT_LIMITS, type LoadModelOptions, type ModelEngine } from "./options.js";
import { OrtDevice } from "../device/ort-device.js";
import { SegmentedModel } from "../segmented-model.js";
import { withGraphDTypes } from "../signature-info.js";
import { TfDevice } from "../device/tf-device.js";
import { WholeModel, wholeObstacles } from "../whole-model.js";

/** One way to serve the model, found out before anything is opened. */
export interface Candidate {
  readonly engine: Omit<ModelEngine, "why">;
  readonly signatures: ModelGraph["signatures"];
  /** Signatures that cannot be served this way, with the reason. */
  readonly broken: ReadonlyMap<string, string>;
  load(): Promise<ReadonlyMap<string, Runner>>;
  close(): Promise<void>;
}

/** A SavedModel that was read, and the ways to serve it. */
export class ModelSource {
  readonly #options: LoadModelOptions;
  readonly #metaGraph: MetaGraphDef;
  readonly #checkpoint: Checkpoint;
  readonly #bindings: Bindings;
  readonly #assets: ReadonlyMap<string, string>;
  #model: ModelGraph | undefined;

  constructor(
    options: LoadModelOptions,
    savedModel: SavedModel,
    metaGraph: MetaGraphDef,
    checkpoint: Checkpoint,
    bindings: Bindings,
  ) {
    this.#options = options;
    this.#metaGraph = metaGraph;
    this.#checkpoint = checkpoint;
    this.#bindings = bindings;
    this.#assets = new Map(assets(savedModel, metaGraph).map(({ tensorName, path }) => [tensorName, path]));
  }

  async onOnnxRuntime(): Promise<Candidate> {
    const { ort, pace } = this.#options;
    const device = ort.gpu ? "gpu" : "cpu";
    const engine = { name: "onnxruntime", library: `ONNX Runtime ${ort.version}`, device } as const;
    return this.#segmented(engine, new OrtDevice(ort, this.#checkpoint, pace));
  }

  /**
   * As it stands where that can be, else in segments: rows of shards come in at cuts, the host helps with ops that
   * TensorFlow has dropped, and what requests change is kept there, so that its order does not hang on threads.
   */
  async onTensorFlow(tensorFlow: TensorFlow): Promise<Candidate> {
    const engine = {
      name: "tensorflow",
      library: `TensorFlow ${tensorFlow.version}`,
      device: tensorFlow.hasGpu ? "gpu" : "cpu",
    } as const;
    const whole = this.#options.rowSource ? undefined : this.#whole(engine, tensorFlow);
    if (whole && !whole.changesState) return whole;
    const segments = await this.#segmented(engine, new TfDevice(tensorFlow, this.#checkpoint));
    if (!whole || segments.broken.size <= whole.broken.size) return segments;
    await segments.close();
    return whole;
  }

  /** undefined when TensorFlow cannot run the graph as it stands. */
  #whole(
    engine: Omit<ModelEngine, "why" | "form">,
    tensorFlow: TensorFlow,
  ): (Candidate & { readonly changesState: boolean }) | undefined {
    const { clock = systemClock, signal } = this.#options;
    const limits = this.#limits;
    const { signatures, broken } = readSignatures(withGraphDTypes(this.#metaGraph));
    const graph = wholeGraph(this.#metaGraph, {
      signatures: signatures.values(),
      initOp: initOp(this.#metaGraph),
      assets: this.#assets,
      variables: this.#bindings.variables,
      tables: this.#bindings.tables,
    });
    if (wholeObstacles(graph, tensorFlow).length > 0) return undefined;
    let model: WholeModel | undefined;
    return {
      engine: { ...engine, form: "whole" },
      changesState: graph.writes.size > 0,
      signatures,
      broken,
      load: async () => {
        const opened = await WholeModel.open(graph, tensorFlow, this.#checkpoint, signal);
        model = opened;
        const context = {
          clock,
          runs: new Semaphore(limits.concurrentRuns, limits.waitingRuns),
          stateLock: new Semaphore(1, limits.waitingRuns),
        };
        return new Map([...signatures].map(([name, signature]) => [name, opened.runner(signature, context)]));
      },
      close: async () => model?.close(),
    };
  }

  async #segmented(engine: Omit<ModelEngine, "why" | "form">, device: Device): Promise<Candidate> {
    const { kernels = hostKernels, rowSource, clock = systemClock, pace, signal, dir, onPlanned } = this.#options;
    const { logger = silentLogger } = this.#options;
    this.#model ??= await importModelInTurns(withGraphDTypes(this.#metaGraph), {
      bindings: this.#bindings.variables,
      entries: this.#checkpoint.tensors,
      initOp: initOp(this.#metaGraph),
      ...(signal && { signal }),
      ...(pace && { pause: () => pace.pause() }),
    });
    await pace?.pause();
    signal?.throwIfAborted();
    const segmented = await SegmentedModel.plan({
      model: this.#model,
      device,
      checkpoint: this.#checkpoint,
      kernels,
      rowSource,
      assets: this.#assets,
      tables: this.#bindings.tables,
      ensembles: this.#bindings.ensembles,
      limits: this.#limits,
      clock,
      pace,
      signal,
      dir,
      logger,
      onPlanned,
      nodeCount: nodeCount(this.#metaGraph),
    });
    return {
      engine: { ...engine, form: "segments" },
      signatures: this.#model.signatures,
      broken: segmented.broken,
      load: () => segmented.load(),
      close: () => segmented.close(),
    };
  }

  get #limits() {
    return { ...DEFAULT_LIMITS, ...this.#options.limits };
  }
}

function nodeCount({ graphDef }: MetaGraphDef): number {
  const { node = [], library } = graphDef ?? {};
  return (library?.function ?? []).reduce((sum, { nodeDef }) => sum + nodeDef.length, node.length);
}
