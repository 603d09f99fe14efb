import { invariant, type Pieces, runInTurns } from "@shardserve/core";
import { type Ort, type OrtSession, OrtValue, type SessionOptions, TfTensor } from "@shardserve/native";
import { refKey } from "@shardserve/graph";
import { deviceSupports, KERNELS, loweringSegment, type Weight } from "@shardserve/onnx";
import { dtypeInfo, elementCount, type Tensor } from "@shardserve/tensor";
import type { Checkpoint } from "../load/checkpoint.js";
import type { LoadPace } from "../load/options.js";
import type { Device, DeviceRunOptions, DeviceSession, DeviceValue, PlannedDeviceStep } from "./device.js";
import { digesting } from "./step-digest.js";

/** A weight this large must not exist twice in memory. */
const SHARED_ELEMENTS_MIN = 256 * 1024;

/**
 * Device steps on ONNX Runtime: the sessions of a model. Steps that compute the same share a session, whatever their signatures. Large weights
 * stay in the mapped checkpoint; ONNX Runtime may keep its own packed copy of one only where a single session reads it.
 */
export class OrtDevice implements Device {
  readonly supports = deviceSupports;
  readonly #ort: Ort;
  readonly #checkpoint: Checkpoint;
  readonly #pace: LoadPace | undefined;
  readonly #sessions = new Map<string, Promise<OrtSession>>();
  /** Checkpoint keys of large weights by the first session that reads them. */
  readonly #holders = new Map<string, string>();

  constructor(ort: Ort, checkpoint: Checkpoint, pace?: LoadPace) {
    this.#ort = ort;
    this.#pace = pace;
    this.#checkpoint = checkpoint;
  }

  async open(
    steps: readonly PlannedDeviceStep[],
    onPlanned: (copiedBytes: number) => void = () => undefined,
  ): Promise<DeviceSession[]> {
    const models: EncodedModel[] = [];
    for (const step of steps) {
      models.push(await this.#encode(step));
      await this.#pace?.pause();
    }
    const readers = new Map<string, Set<string>>();
    for (const { id, weights } of models) {
      for (const key of largeKeys(weights)) {
        const known = readers.get(key) ?? new Set(this.#holders.get(key) ? [this.#holders.get(key)!] : []);
        readers.set(key, known.add(id));
        if (!this.#holders.has(key)) this.#holders.set(key, id);
      }
    }
    const isShared = (weights: readonly Weight[]) => largeKeys(weights).some((key) => readers.get(key)!.size > 1);
    const distinct = new Map(models.map((model) => [model.id, model]));
    onPlanned(copiedBytes(distinct.values(), isShared));
    return Promise.all(
      models.map(async ({ id, bytes, weights }, i) => {
        const step = steps[i]!;
        const memoryReuse = this.#plansReuse(step);
        const options = {
          prepacking: !isShared(weights),
          memoryPattern: !isWide(step),
          memoryReuse,
          keepsScales: hasSigns(step),
        };
        const session = await this.#session(id, bytes, options);
        return new OrtSegment(session, () => this.#asWritten(step));
      }),
    );
  }

  /** A session that runs a step node by node; it is not read from the same bytes, which nobody keeps. */
  async #asWritten(step: PlannedDeviceStep): Promise<OrtSession> {
    const { id, bytes } = await this.#encode(step);
    const memoryReuse = this.#plansReuse(step);
    return this.#session(`${id} as written`, bytes, { prepacking: false, optimization: "disabled", memoryReuse });
  }

  #plansReuse({ step }: PlannedDeviceStep): boolean {
    return this.#ort.gpu !== undefined || step.nodes.length < LONG_NODES_MIN;
  }

  async close(): Promise<void> {
    const sessions = await Promise.allSettled(this.#sessions.values());
    this.#sessions.clear();
    const opened = sessions.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    await Promise.all(opened.map((session) => session.closeElsewhere()));
  }

  async #encode({ step, infos }: PlannedDeviceStep): Promise<EncodedModel> {
    const inTurns = <T>(pieces: Pieces<T>) => runInTurns(pieces, undefined, this.#pace && (() => this.#pace!.pause()));
    const lowered = await inTurns(loweringSegment(step, infos, KERNELS[this.#ort.gpu?.provider ?? "cpu"]));
    const places = new Map<string, Awaited<ReturnType<Checkpoint["place"]>>>();
    for (const weight of lowered.weights) places.set(weight.name, await this.#checkpoint.place(weight));
    const place = (weight: Weight) => places.get(weight.name)!;
    const id = await inTurns(digesting(lowered, place));
    const weights = lowered.weights.map((weight) => ({ ...weight, isInPlace: !(place(weight) instanceof Uint8Array) }));
    return { id, bytes: await inTurns(lowered.encoding(place)), weights };
  }

  #session(id: string, model: Uint8Array, { keepsScales = false, ...options }: StepOptions) {
    let session = this.#sessions.get(id);
    if (!session) {
      const { folder } = this.#checkpoint;
      const config = {
        ...(folder !== undefined && { "session.model_external_initializers_file_folder_path": folder }),
        ...(keepsScales && { "optimization.disable_specified_optimizers": SCALE_FUSIONS }),
      };
      const isInBackground = this.#pace?.isBusy ?? false;
      session = this.#ort.createSession(model, { ...options, config, gpu: this.#ort.gpu, isInBackground });
      this.#sessions.set(id, session);
    }
    return session;
  }
}

interface StepOptions extends Pick<SessionOptions, "prepacking" | "memoryPattern" | "memoryReuse" | "optimization"> {
  /** Products are scaled after they are summed, as it is written. */
  readonly keepsScales?: boolean;
}

/** What makes the scale behind a convolution or product part of its weights. */
const SCALE_FUSIONS = "ConvBNFusion;ConvMulFusion;MatMul_BatchNormalization_Fusion";

/**
 * Sums of -1 and 1, as binarised networks have them, are often 0 exactly, where a Sign jumps: a sum of scaled numbers would be a little
 * more or less.
 */
function hasSigns({ step }: PlannedDeviceStep): boolean {
  return step.nodes.some(({ op }) => op === "Sign");
}

/** From so many nodes on, planning the reuse of memory takes most of the time that a session needs to open. */
const LONG_NODES_MIN = 4096;

/** Of values with so many bytes in one row a batch takes tens of megabytes. */
const WIDE_BYTES_MIN = 2 ** 20;

/**
 * Whether a step makes values so large that the memory for them counts. Batches differ in size, and for each of them a pattern
 * would take another piece of memory in the second run.
 */
function isWide({ step, infos }: PlannedDeviceStep): boolean {
  return step.nodes.some(({ name, op }) => {
    const info = op === "Const" || op === "Variable" ? undefined : infos.get(refKey({ node: name, index: 0 }));
    const elements = info?.shape?.reduce((product, length) => product * Math.max(length, 1), 1) ?? 0;
    return info !== undefined && elements * dtypeInfo(info.dtype).bytes >= WIDE_BYTES_MIN;
  });
}

/** One device step on ONNX Runtime. */
class OrtSegment implements DeviceSession {
  readonly #session: OrtSession;
  readonly #openAsWritten: () => Promise<OrtSession>;
  #asWritten: Promise<OrtSession> | undefined;

  /** @param openAsWritten  a session of the same step that ONNX Runtime did not rewrite */
  constructor(session: OrtSession, openAsWritten: () => Promise<OrtSession>) {
    this.#session = session;
    this.#openAsWritten = openAsWritten;
  }

  feed(value: Tensor | DeviceValue): DeviceValue {
    if (value instanceof OrtValue) return value;
    invariant(!(value instanceof TfTensor), "a model's device steps run on one engine");
    return OrtValue.forRun(value);
  }

  /**
   * Of no rows ONNX Runtime's own rewriting may make reshapes that it then refuses (to blocks of channels, in deep
   * residual networks), so what refuses an empty feed is run again as it was written.
   */
  async run(feeds: readonly DeviceValue[], { signal }: DeviceRunOptions): Promise<DeviceValue[]> {
    const values = feeds as readonly OrtValue[];
    try {
      return await this.#session.run(values, { signal });
    } catch (error) {
      if (signal?.aborted || !values.some(({ shape }) => shape.includes(0))) throw error;
      const session = await (this.#asWritten ??= this.#openAsWritten());
      return session.run(values, { signal });
    }
  }

  runSync(feeds: readonly DeviceValue[]): DeviceValue[] {
    return this.#session.runSync(feeds as readonly OrtValue[]);
  }
}

/** What a session takes whatever its model is: 86 KiB were measured of a single op, and 38 more with its first run. */
const SESSION_BYTES = 128 * 1024;
/** Of weights that are read in place: their packed form is padded, and fused layers get one of their own. */
const PACKED_RATIO = 1.15;

/**
 * What ONNX Runtime will keep of some models beside the checkpoint's own bytes: a packed copy of weights that it reads in place, and constants
 * that came with the model. Of a variable that came with one it has the only copy that stays, the file's bytes stand for that.
 */
function copiedBytes(models: Iterable<EncodedModel>, isShared: (weights: readonly Weight[]) => boolean): number {
  const counted = new Set<string>();
  let total = 0;
  for (const { bytes, weights } of models) {
    let [inPlaceBytes, ownBytes] = [0, bytes.byteLength];
    for (const { source, dtype, shape, isInPlace } of weights) {
      const weightBytes = elementCount(shape) * dtypeInfo(dtype).bytes;
      if (isInPlace) inPlaceBytes += weightBytes;
      else if (source.kind === "variable" && !counted.has(source.checkpointKey)) {
        counted.add(source.checkpointKey);
        ownBytes -= weightBytes;
      }
    }
    total += SESSION_BYTES + Math.max(ownBytes, 0) + (isShared(weights) ? 0 : PACKED_RATIO * inPlaceBytes);
  }
  return Math.ceil(total);
}

interface EncodedModel {
  /** Digest of all that the model computes. */
  readonly id: string;
  readonly bytes: Uint8Array;
  readonly weights: readonly PlacedWeight[];
}

interface PlacedWeight extends Weight {
  /** Read where it lies in the checkpoint file. */
  readonly isInPlace: boolean;
}

function largeKeys(weights: readonly Weight[]): string[] {
  return weights
    .filter((weight) => weight.source.kind === "variable" && elementCount(weight.shape) >= SHARED_ELEMENTS_MIN)
    .map((weight) => (weight.source.kind === "variable" ? weight.source.checkpointKey : ""));
}
