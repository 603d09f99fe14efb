import { type Clock, type GrpcStatusName, ServingError, type TraceParent } from "@shardserve/core";
import type { Manager, RowsReport, ServableHandle, ServableId, SignatureInfo } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import type { Batcher } from "../batching/batcher.js";
import type { BatchResult } from "../batching/member.js";
import type { ServerMetrics } from "../metrics.js";
import type { RequestLog } from "../request-log/request-log.js";
import type { RequestScope } from "../scope.js";
import type { RequestTrace } from "../tracing/tracing.js";
import {
  checkAnswers,
  checkDTypes,
  checkInputCount,
  checkMethod,
  checkOutputFilter,
  decodeInput,
  fillInputs,
  handleFor,
  predictSignature,
} from "./checks.js";
import type { ShadowMirror } from "./shadow.js";
import { checkDegradedLimit } from "./degraded-limit.js";
import {
  decodePredictRequest,
  encodePredictResponse,
  type ModelSpecFields,
  type PredictRequestFields,
} from "./wire.js";

/** Failures that say nothing about a version: the caller went, or there was too much to do. */
const BLAMELESS: readonly GrpcStatusName[] = ["CANCELLED", "RESOURCE_EXHAUSTED"];

export interface PredictorOptions {
  readonly manager: Pick<Manager, "handle">;
  readonly batcher: Batcher;
  readonly metrics: Pick<ServerMetrics, "runtimeDone" | "stageDone">;
  readonly clock: Clock;
  /** Copies requests to another version; absent = none are copied. */
  readonly shadow?: Pick<ShadowMirror, "mirror">;
  /** Answers carry tensor_content instead of typed fields (--enable_serialization_as_tensor_content). */
  readonly isContentEncoded: boolean;
  /** Refuse signatures whose method_name is another call's (--enable_signature_method_name_check). */
  readonly isMethodChecked: boolean;
  /** Logs a sample of the requests; absent = none. */
  readonly requestLog?: RequestLog | undefined;
}

export interface Answer {
  readonly body: Buffer;
  readonly report: RowsReport | undefined;
  /** The version that answered; undefined where none did, as for a status. */
  readonly by: ServableId | undefined;
}

/** Predict without its transports: finds the version, checks the request, runs it, encodes the answer. */
export class Predictor {
  readonly #manager: PredictorOptions["manager"];
  readonly #batcher: Batcher;
  readonly #metrics: PredictorOptions["metrics"];
  readonly #clock: Clock;
  readonly #shadow: PredictorOptions["shadow"];
  readonly #isContentEncoded: boolean;
  readonly #isMethodChecked: boolean;
  readonly requestLog: RequestLog | undefined;

  constructor(options: PredictorOptions) {
    this.#manager = options.manager;
    this.#batcher = options.batcher;
    this.#metrics = options.metrics;
    this.#clock = options.clock;
    this.#shadow = options.shadow;
    this.#isContentEncoded = options.isContentEncoded;
    this.#isMethodChecked = options.isMethodChecked;
    this.requestLog = options.requestLog;
  }

  /** @param scope  of the request; none for questions about a model that are no predictions */
  handle(spec: ModelSpecFields | undefined, scope?: Pick<RequestScope, "stickyKey">): ServableHandle {
    return handleFor(this.#manager, spec, scope?.stickyKey);
  }

  /** A serialised PredictRequest to a serialised PredictResponse. */
  async predict(bytes: Uint8Array, scope: RequestScope, onModel: (name: string) => void): Promise<Answer> {
    const request = decodePredictRequest(bytes);
    onModel(request.modelSpec?.name ?? "");
    const handle = this.handle(request.modelSpec, scope);
    try {
      return await this.#predictOn(handle, request, bytes, scope);
    } finally {
      handle.release(); // `using` would be two objects and two closures more for each request
    }
  }

  async #predictOn(
    handle: ServableHandle,
    request: PredictRequestFields,
    bytes: Uint8Array,
    scope: RequestScope,
  ): Promise<Answer> {
    const signature = predictSignature(handle, request.modelSpec?.signatureName ?? "");
    const inputs = fillInputs(signature, request.inputs, (alias, value) => decodeInput(alias, value, scope));
    const outputs = checkOutputFilter(signature, request.outputFilter);
    const result = await this.run(handle, signature, inputs, outputs, scope, "Predict");
    const answer = this.encode(handle.id, signature.name, scope, () => ({
      body: encodePredictResponse(
        result.outputs,
        { name: handle.id.name, version: handle.id.version, signatureName: signature.name },
        this.#isContentEncoded,
      ),
      report: result.report,
      by: handle.id,
    }));
    if (this.requestLog?.isSampled(handle.id.name)) {
      this.requestLog.write("Predict", bytes, answer.body, handle.id, signature.name);
    }
    return answer;
  }

  /** Runs a signature on decoded inputs, through the batcher; counts, dtypes and that it answers are checked here. */
  async run(
    handle: ServableHandle,
    signature: SignatureInfo,
    inputs: ReadonlyMap<string, Tensor>,
    outputs: readonly string[] | undefined,
    scope: RequestScope,
    api: string,
  ): Promise<{ outputs: ReadonlyMap<string, Tensor>; report: RowsReport | undefined }> {
    const { signal, deadlineMs, explanation, trace } = scope;
    const isExplained = explanation !== undefined;
    const lookup = trace?.reserve();
    const startMs = this.#clock.nowMs();
    let result: BatchResult;
    try {
      if (this.#isMethodChecked) checkMethod(signature, api);
      checkInputCount(signature, inputs);
      checkAnswers(signature);
      checkDTypes(signature, inputs);
      result = await this.#batcher.run({
        handle,
        signature,
        inputs,
        outputs,
        signal,
        deadlineMs,
        memory: scope,
        isExplained,
        traceParent: lookup,
      });
    } catch (reason) {
      const nowMs = this.#clock.nowMs();
      // what shards have told of it needs its parent; nothing else is known of a run that failed
      if (lookup?.sentMs !== undefined) trace?.stage("lookup", lookup.sentMs, nowMs - lookup.sentMs, lookup);
      const { status } = ServingError.from(reason);
      if (!BLAMELESS.includes(status)) handle.recordOutcome(nowMs, true, nowMs - startMs);
      throw reason;
    }
    const nowMs = this.#clock.nowMs();
    handle.recordOutcome(nowMs, false, nowMs - startMs);
    this.#metrics.runtimeDone(handle.id.name, api, nowMs - startMs);
    this.#metrics.stageDone("queue", handle.id, signature.name, result.queueMs);
    checkDegradedLimit(scope.degradedLimit, result.report);
    if (trace) traceRun(trace, startMs, result, lookup);
    explanation?.ran(result);
    this.#shadow?.mirror({ handle, signature, inputs, outputs, memory: scope }, result.outputs);
    return { outputs: inOrder(signature, outputs, result.outputs), report: result.report };
  }

  /** Times the encoding of an answer. */
  encode<T>(id: ServableId, signature: string, scope: RequestScope, encode: () => T): T {
    const startMs = this.#clock.nowMs();
    const encoded = encode();
    this.encoded(id, signature, scope, startMs);
    return encoded;
  }

  /** An answer was encoded, from `startMs` until now. */
  encoded(id: ServableId, signature: string, scope: RequestScope, startMs: number): void {
    const durationMs = this.#clock.nowMs() - startMs;
    this.#metrics.stageDone("encode", id, signature, durationMs);
    scope.trace?.stage("encode", startMs, durationMs);
    scope.explanation?.stage("encode", durationMs);
  }
}

/**
 * What a run of a signature took; a joined run's stages are those of all its requests, and are laid end to end.
 *
 * @param lookup  what its lookups were named before
 */
function traceRun(trace: RequestTrace, startMs: number, result: BatchResult, lookup: TraceParent | undefined): void {
  const { queueMs, timings } = result;
  let atMs = startMs;
  const stages = [
    ["queue", queueMs],
    ["host", timings.hostMs],
    ["lookup", timings.lookupMs],
    ["device", timings.deviceMs],
  ] as const;
  for (const [name, durationMs] of stages) {
    const reserved = name === "lookup" ? lookup : undefined;
    if (durationMs > 0 || name === "queue" || reserved?.sentMs !== undefined) {
      trace.stage(name, atMs, durationMs, reserved);
    }
    atMs += durationMs;
  }
}

/** Outputs in the order of the signature, or of the filter, whatever order the model made them in. */
function inOrder(
  signature: SignatureInfo,
  filter: readonly string[] | undefined,
  outputs: ReadonlyMap<string, Tensor>,
): ReadonlyMap<string, Tensor> {
  if (outputs.size === 1) return outputs;
  const ordered = new Map<string, Tensor>();
  for (const alias of filter ?? signature.outputs.keys()) ordered.set(alias, outputs.get(alias)!);
  return ordered;
}
