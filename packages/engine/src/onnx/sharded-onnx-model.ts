import { join } from "node:path";
import { type CancelSignal, type Clock, Semaphore, ServingError, silentLogger, systemClock } from "@shardserve/core";
import { OrtValue } from "@shardserve/native";
import {
  cutModel,
  type CutLookup,
  declaredType,
  decodeOnnxModel,
  encodeStage,
  ONNX_MODEL_FILE,
  type OnnxCut,
  type OnnxStage,
  type OnnxValueType,
  hasLoops,
  readWithWeightsInPlace,
  toServedForm,
} from "@shardserve/onnx";
import type { RowLease, RowSource } from "@shardserve/rowstore";
import type { RunOptions, RunResult, SignatureInfo } from "@shardserve/servable";
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { deviceError } from "../device/device-error.js";
import { gatherIds } from "../steps/gather-ids.js";
import { type LoadOnnxOptions, onnxEngine, onnxSessionOptions } from "./onnx-options.js";
import { foreignInput, onnxMetadata, onnxSignature, type OnnxValue } from "./onnx-signature.js";
import { DEFAULT_LIMITS, type EngineModel, type ModelEngine } from "../load/options.js";
import { PacedSession } from "../load/paced-session.js";
import { RowsTally } from "../rows-report.js";

export type LoadShardedOnnxOptions = LoadOnnxOptions & { readonly rowSource: RowSource };

/**
 * Loads what shard-export left of an ONNX model: a graph whose tables are inputs. It is cut at its lookups into stages, each
 * a model of its own, with lookups between them; most models have one lookup of ids that are inputs, and one stage.
 *
 * @throws ServingError as loadOnnxModel; the row source stays open then
 */
export async function loadShardedOnnxModel(options: LoadShardedOnnxOptions): Promise<EngineModel> {
  const { dir, rowSource, signal, logger = silentLogger } = options;
  const path = join(dir, ONNX_MODEL_FILE);
  const model = decodeOnnxModel(await readWithWeightsInPlace(dir, signal), path);
  toServedForm(model);
  const cut = cutModel(
    model,
    rowSource.tables.map(({ checkpointKey }) => checkpointKey),
  );
  const opened = await Opened.open(cut, options);
  try {
    const outputs = cut.graph.output.map(({ name }): OnnxValue => opened.described(name));
    const inputs = cut.inputs.map(({ name }) => opened.described(name));
    return new ShardedOnnxModel(opened, onnxSignature(inputs, outputs, path, logger), options);
  } catch (error) {
    opened.close();
    throw error;
  }
}

interface BoundLookup {
  readonly cut: CutLookup;
  /** Index in the source's tables. */
  readonly table: number;
}

interface BoundStage {
  readonly stage: OnnxStage;
  /** undefined where nothing is to be computed: the ids are inputs. */
  readonly session: PacedSession | undefined;
  readonly lookups: readonly BoundLookup[];
  /** Names of rows: as large as their cache, whatever the work. */
  readonly rows: ReadonlySet<string>;
}

/** The stages of a model with their sessions. The types of values between stages are what ONNX Runtime finds them to be. */
class Opened {
  readonly stages: readonly BoundStage[];
  readonly #types: ReadonlyMap<string, OnnxValueType>;

  private constructor(stages: readonly BoundStage[], types: ReadonlyMap<string, OnnxValueType>) {
    this.stages = stages;
    this.#types = types;
  }

  static async open(cut: OnnxCut, options: LoadShardedOnnxOptions): Promise<Opened> {
    const { dir, ort, rowSource, clock = systemClock } = options;
    const { concurrentRuns, waitingRuns } = { ...DEFAULT_LIMITS, ...options.limits };
    const runs = new Semaphore(concurrentRuns, waitingRuns);
    const tables = new Map(rowSource.tables.map(({ checkpointKey }, i) => [checkpointKey, i]));
    const types = new Map<string, OnnxValueType>();
    for (const input of cut.inputs) {
      const type = declaredType(input);
      if (!type) throw foreignInput(input.name, join(dir, ONNX_MODEL_FILE));
      types.set(input.name, type);
    }
    const rows = new Set(cut.stages.flatMap(({ lookups }) => lookups.map((lookup) => lookup.rows)));
    const stages: BoundStage[] = [];
    try {
      for (const stage of cut.stages) {
        const session = stage.outputs.length === 0 ? undefined : await createSession(stage);
        for (const { name, dtype, shape, symbols } of session?.session.outputs ?? [])
          if (dtype !== undefined) types.set(name, { dtype, shape, symbols });
        const lookups = stage.lookups.map((lookup) => ({ cut: lookup, table: tables.get(lookup.table)! }));
        stages.push({ stage, session, lookups, rows });
        for (const lookup of lookups) addLookupTypes(lookup);
      }
      return new Opened(stages, types);
    } catch (error) {
      for (const { session } of stages) session?.session.close();
      throw error;
    }

    async function createSession(stage: OnnxStage): Promise<PacedSession> {
      for (const name of stage.inputs) if (!types.has(name)) throw noTensor(name);
      const bytes = encodeStage(cut, stage, types);
      const isUnpredictable = await hasLoops(bytes);
      return new PacedSession(
        await ort.createSession(bytes, onnxSessionOptions(options)),
        isUnpredictable,
        clock,
        runs,
      );
    }

    function addLookupTypes({ cut: lookup, table }: BoundLookup): void {
      const ids = types.get(lookup.ids);
      if (!ids) throw noTensor(lookup.ids);
      const { dtype, rowShape } = rowSource.tables[table]!;
      types.set(lookup.rows, { dtype, shape: [-1, ...rowShape], symbols: [] });
      const end = lookup.isNd ? -1 : undefined;
      types.set(lookup.slots, {
        dtype: "int32",
        shape: ids.shape?.slice(0, end),
        symbols: ids.symbols.slice(0, end),
      });
    }

    function noTensor(name: string): ServingError {
      return new ServingError(
        "OP_UNSUPPORTED",
        `${dir}: "${name}" crosses a lookup and is no tensor; export the model with its tables whole`,
      );
    }
  }

  /** An input or output as callers see it. */
  described(name: string): OnnxValue {
    const type = this.#types.get(name);
    return { name, dtype: type?.dtype, shape: type?.shape };
  }

  close(): void {
    for (const { session } of this.stages) session?.session.close();
  }
}

/** The values of one run, and what must be given back when it is over. */
class Frame {
  readonly values = new Map<string, OrtValue>();
  readonly rows = new RowsTally();
  readonly #leases: RowLease[] = [];
  readonly #owned: OrtValue[] = [];
  readonly inputs: ReadonlyMap<string, Tensor>;

  constructor(inputs: ReadonlyMap<string, Tensor>) {
    this.inputs = inputs;
    for (const [name, value] of inputs) this.set(name, OrtValue.forRun(value));
  }

  set(name: string, value: OrtValue): void {
    this.#owned.push(value);
    this.values.set(name, value);
  }

  /** Rows for this run; they are released with it. */
  hold(lease: RowLease): void {
    this.#leases.push(lease);
    this.rows.add(lease);
  }

  tensor(name: string): Tensor {
    return this.inputs.get(name) ?? this.values.get(name)!.toTensor();
  }

  end(): void {
    for (const value of this.#owned) value.dispose();
    for (const lease of this.#leases) lease.release();
  }
}

class ShardedOnnxModel implements EngineModel {
  readonly engine: ModelEngine;
  readonly signatures: ReadonlyMap<string, SignatureInfo>;
  readonly metadata: Uint8Array;
  readonly #opened: Opened;
  readonly #source: RowSource;
  readonly #clock: Clock;

  constructor(
    opened: Opened,
    signature: SignatureInfo,
    { ort, rowSource, clock = systemClock }: LoadShardedOnnxOptions,
  ) {
    this.engine = onnxEngine(ort, "segments");
    this.signatures = new Map([[signature.name, signature]]);
    this.metadata = onnxMetadata(signature);
    this.#opened = opened;
    this.#source = rowSource;
    this.#clock = clock;
  }

  async run(name: string, inputs: ReadonlyMap<string, Tensor>, options: RunOptions): Promise<RunResult> {
    const signature = this.signatures.get(name);
    if (!signature) throw new ServingError("NOT_FOUND", `the model has no signature "${name}"`);
    const { signal, outputs = [...signature.outputs.keys()] } = options;
    const frame = new Frame(inputs);
    let lookupMs = 0;
    let deviceMs = 0;
    try {
      let atMs = this.#clock.nowMs();
      const lap = () => {
        const sinceMs = this.#clock.nowMs() - atMs;
        atMs += sinceMs;
        return sinceMs;
      };
      for (const stage of this.#opened.stages) {
        if (stage.session) await compute(stage, stage.session, frame, signal);
        deviceMs += lap();
        if (stage.lookups.length > 0) await this.#lookup(stage.lookups, frame, options);
        lookupMs += lap();
      }
      const tensors = new Map(outputs.map((alias) => [alias, frame.tensor(alias)]));
      const report = frame.rows.report();
      return { outputs: tensors, ...(report && { report }), timings: { hostMs: 0, lookupMs, deviceMs } };
    } catch (error) {
      throw signal?.aborted ? signal.reason : deviceError(error);
    } finally {
      frame.end();
    }
  }

  async close(): Promise<void> {
    this.#opened.close();
    await this.#source.close();
  }

  async #lookup(lookups: readonly BoundLookup[], frame: Frame, options: RunOptions): Promise<void> {
    const { signal, deadlineMs, isExplained = false, traceParent, epoch } = options;
    const ids = lookups.map(({ cut }) => frame.tensor(cut.ids));
    const requests = lookups.map(({ cut, table }, i) => {
      const { rows } = this.#source.tables[table]!;
      return { table, ids: gatherIds(ids[i]!, rows, cut.name) };
    });
    const lease = await this.#source.lookup(requests, {
      ...(signal && { signal }),
      ...(deadlineMs !== undefined && { deadlineMs }),
      isExplained,
      traceParent,
      epoch,
    });
    frame.hold(lease);
    for (const [i, { cut }] of lookups.entries()) {
      const { rows, slots } = lease.batches[i]!;
      frame.values.set(cut.rows, rows); // the lease owns it
      frame.set(cut.slots, OrtValue.forRun(tensor("int32", slotShape(ids[i]!, cut), slots)));
    }
  }
}

/** A GatherND of whole rows has ids `[..., 1]`. @throws ServingError INVALID_ARGUMENT */
function slotShape({ shape }: Tensor, { isNd, name }: CutLookup): readonly number[] {
  if (!isNd) return shape;
  if (shape.at(-1) === 1) return shape.slice(0, -1);
  throw new ServingError("INVALID_ARGUMENT", `GatherND "${name}": the last dimension of its indices must be 1`);
}

async function compute(
  { rows }: BoundStage,
  paced: PacedSession,
  frame: Frame,
  signal: CancelSignal | undefined,
): Promise<void> {
  let size = 1;
  const feeds = paced.session.inputs.map(({ name }) => {
    const feed = frame.values.get(name)!;
    if (!rows.has(name)) size += elementCount(feed.shape);
    return feed;
  });
  const results = await paced.run(feeds, size, { signal });
  for (const [i, { name }] of paced.session.outputs.entries()) frame.set(name, results[i]!);
}
