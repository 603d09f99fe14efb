import { createHash } from "node:crypto";
import { invariant } from "@shardserve/core";
import { type Ort, type OrtSession, OrtValue, TfTensor } from "@shardserve/native";
import { deviceSupports, type LoweredSegment, lowerSegment, type Weight } from "@shardserve/onnx";
import { elementCount, type Tensor } from "@shardserve/tensor";
import type { Checkpoint } from "./checkpoint.js";
import type { LoadPace } from "./options.js";
import type { Device, DeviceRunOptions, DeviceSession, DeviceValue, PlannedDeviceStep } from "./device.js";

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

  /** Sessions for all steps of the plans that are loaded together. */
  async open(steps: readonly PlannedDeviceStep[]): Promise<DeviceSession[]> {
    const models: { readonly id: string; readonly bytes: Uint8Array; readonly weights: readonly Weight[] }[] = [];
    for (const { step, infos } of steps) {
      models.push(await this.#encode(lowerSegment(step, infos)));
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
    return Promise.all(
      models.map(async ({ id, bytes, weights }) => {
        const isShared = largeKeys(weights).some((key) => readers.get(key)!.size > 1);
        return new OrtSegment(await this.#session(id, bytes, !isShared));
      }),
    );
  }

  async close(): Promise<void> {
    const sessions = await Promise.allSettled(this.#sessions.values());
    this.#sessions.clear();
    const opened = sessions.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    await Promise.all(opened.map((session) => session.closeElsewhere()));
  }

  async #encode(lowered: LoweredSegment) {
    const places = new Map<string, Awaited<ReturnType<Checkpoint["place"]>>>();
    for (const weight of lowered.weights) places.set(weight.name, await this.#checkpoint.place(weight));
    const place = (weight: Weight) => places.get(weight.name)!;
    const id = createHash("sha256").update(lowered.encode(place, false)).digest("base64");
    return { id, bytes: lowered.encode(place), weights: lowered.weights };
  }

  #session(id: string, model: Uint8Array, prepacking: boolean): Promise<OrtSession> {
    let session = this.#sessions.get(id);
    if (!session) {
      const { folder } = this.#checkpoint;
      const config = folder === undefined ? {} : { "session.model_external_initializers_file_folder_path": folder };
      const isInBackground = this.#pace?.isBusy ?? false;
      session = this.#ort.createSession(model, { prepacking, config, gpu: this.#ort.gpu, isInBackground });
      this.#sessions.set(id, session);
    }
    return session;
  }
}

class OrtSegment implements DeviceSession {
  readonly #session: OrtSession;

  constructor(session: OrtSession) {
    this.#session = session;
  }

  feed(value: Tensor | DeviceValue): DeviceValue {
    if (value instanceof OrtValue) return value;
    invariant(!(value instanceof TfTensor), "a model's device steps run on one engine");
    return OrtValue.fromTensor(value);
  }

  run(feeds: readonly DeviceValue[], { signal }: DeviceRunOptions): Promise<DeviceValue[]> {
    return this.#session.run(feeds as readonly OrtValue[], { signal });
  }

  runSync(feeds: readonly DeviceValue[]): DeviceValue[] {
    return this.#session.runSync(feeds as readonly OrtValue[]);
  }
}

function largeKeys(weights: readonly Weight[]): string[] {
  return weights
    .filter((weight) => weight.source.kind === "variable" && elementCount(weight.shape) >= SHARED_ELEMENTS_MIN)
    .map((weight) => (weight.source.kind === "variable" ? weight.source.checkpointKey : ""));
}
