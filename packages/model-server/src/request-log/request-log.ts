import {
  ClassificationRequestSchema,
  create,
  LogMetadataSchema,
  ModelSpecSchema,
  RegressionRequestSchema,
  toBinary,
} from "@shardserve/api";
import {
  type Clock,
  type Logger,
  type Random,
  Service,
  silentLogger,
  systemClock,
  systemRandom,
} from "@shardserve/core";
import type { ServableId } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { encodeExamples } from "../predict/example-input.js";
import { encodePredictRequest, encodePredictResponse } from "../predict/wire.js";
import { RecordFileWriter } from "./record-file-writer.js";

/** How one model's requests are logged: a tensorflow.serving.LoggingConfig. */
export interface ModelLogging {
  /** Part of requests that is logged, 0 to 1. */
  readonly samplingRate: number;
  /** What the names of its files begin with, inside the log directory. */
  readonly filePrefix: string;
}

/** Field numbers of PredictionLog's log_type. */
const LOG_TYPES = { Classify: 2, Regress: 3, MultiInference: 4, SessionRun: 5, Predict: 6 } as const;
export type LoggedCall = keyof typeof LOG_TYPES;

export interface RequestLogOptions {
  /** Where files are written; no prefix leaves it. */
  readonly directory: string;
  /** Part of requests that is logged for models without a configuration of their own, default 0. */
  readonly samplingRate?: number;
  readonly tags: readonly string[];
  readonly pid: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

/** Called for each record: OK when it is on disk, RESOURCE_EXHAUSTED when it was dropped, or why it could not be written. */
export type OnLogged = (model: string, status: string, count: number) => void;

/**
 * Writes a sample of requests with their answers to files, as TensorFlow Serving's PredictionLogs in TFRecords: its tools
 * read them, and so does a warm-up. Never waits for the disk.
 */
export class RequestLog extends Service {
  readonly #options: RequestLogOptions;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #writers = new Map<string, RecordFileWriter>();
  #models: ReadonlyMap<string, ModelLogging> = new Map();
  #onLogged: OnLogged = () => undefined;

  constructor(options: RequestLogOptions) {
    super();
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom();
  }

  /** Configurations of models, from now on; a model left out is sampled at the common rate. */
  configure(models: ReadonlyMap<string, ModelLogging>): void {
    this.#models = models;
  }

  set onLogged(callback: OnLogged) {
    this.#onLogged = callback;
  }

  /** Whether this request of a model is to be logged. Draws: ask once. */
  isSampled(model: string): boolean {
    const rate = this.#models.get(model)?.samplingRate ?? this.#options.samplingRate ?? 0;
    return rate > 0 && this.#random.next() < rate;
  }

  /** Logs a call as it came and went over gRPC: a serialised request and response. */
  write(call: LoggedCall, request: Uint8Array, response: Uint8Array, by: ServableId, signature: string): void {
    const writer = new BinaryWriter();
    writer.tag(1, WireType.LengthDelimited).bytes(this.#metadata(by, signature));
    writer.tag(LOG_TYPES[call], WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).bytes(request);
    writer.tag(2, WireType.LengthDelimited).bytes(response);
    const bytes = writer.join().finish();
    const isTaken = this.#writerOf(by.name).write(
      by.name,
      Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    );
    if (!isTaken) this.#onLogged(by.name, "RESOURCE_EXHAUSTED", 1);
  }

  /** Logs a predict call of another form (JSON, Open Inference Protocol) as the PredictRequest that asks the same. */
  writePredict(
    inputs: ReadonlyMap<string, Tensor>,
    outputs: ReadonlyMap<string, Tensor>,
    by: ServableId,
    signatureName: string,
  ): void {
    const answered = { name: by.name, version: by.version, signatureName };
    const request = encodePredictRequest(inputs, answered);
    this.write("Predict", request, encodePredictResponse(outputs, answered, false), by, signatureName);
  }

  /** Logs a classify or regress call that came as JSON. */
  writeExamples(
    call: "Classify" | "Regress",
    examples: Tensor<"string">,
    response: Uint8Array,
    by: ServableId,
    signatureName: string,
  ): void {
    const message = { modelSpec: specOf(by, signatureName), input: encodeExamples(examples.data) };
    const request =
      call === "Classify"
        ? toBinary(ClassificationRequestSchema, create(ClassificationRequestSchema, message))
        : toBinary(RegressionRequestSchema, create(RegressionRequestSchema, message));
    this.write(call, request, response, by, signatureName);
  }

  protected override async onStart(): Promise<void> {}
  protected override async onDrain(): Promise<void> {}

  protected override async onClose(): Promise<void> {
    await Promise.all([...this.#writers.values()].map((writer) => writer.close()));
  }

  #metadata(by: ServableId, signatureName: string): Uint8Array {
    const message = create(LogMetadataSchema, {
      modelSpec: specOf(by, signatureName),
      samplingConfig: { samplingRate: this.#models.get(by.name)?.samplingRate ?? this.#options.samplingRate ?? 0 },
      savedModelTags: [...this.#options.tags],
      timestampSecs: BigInt(Math.floor(this.#clock.wallMs() / 1000)),
    });
    return toBinary(LogMetadataSchema, message);
  }

  #writerOf(model: string): RecordFileWriter {
    const prefix = this.#models.get(model)?.filePrefix ?? encodeURIComponent(model);
    let writer = this.#writers.get(prefix);
    if (!writer) {
      const { directory, pid, logger = silentLogger } = this.#options;
      const onSettled = (of: string, count: number, error: { status: string } | undefined) =>
        this.#onLogged(of, error?.status ?? "OK", count);
      writer = new RecordFileWriter({ directory, prefix, pid, clock: this.#clock, logger, onSettled });
      this.#writers.set(prefix, writer);
    }
    return writer;
  }
}

function specOf(by: ServableId, signatureName: string) {
  const version = { case: "version", value: { value: BigInt(by.version) } } as const;
  return create(ModelSpecSchema, { name: by.name, signatureName, versionChoice: version });
}
