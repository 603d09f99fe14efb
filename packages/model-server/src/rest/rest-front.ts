import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import {
  ClassificationResponseSchema,
  create,
  type ModelSpec,
  RegressionResponseSchema,
  toBinary,
} from "@shardserve/api";
import { type Clock, type GrpcStatusName, HTTP_STATUS, type Logger, ServingError } from "@shardserve/core";
import type { Manager, ServableId } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import { indexJson } from "../json/document.js";
import { readExampleBody } from "../json/example-body.js";
import { classificationToJson, regressionToJson } from "../json/example-response.js";
import { readPredictBody, rootObject, signatureNameOf } from "../json/predict-body.js";
import { columnsToJson, rowsToJson } from "../json/predict-response.js";
import type { ServerLimits } from "../limits.js";
import type { ServerMetrics } from "../metrics.js";
import { DEFAULT_SIGNATURE } from "../predict/checks.js";
import { modelMetadataJson, modelStatuses, modelStatusJson } from "../predict/describe-model.js";
import { classify, regress } from "../predict/examples.js";
import type { Answer, Predictor } from "../predict/predictor.js";
import { answerEntries } from "../predict/report.js";
import { type RequestScope, type RequestScopes, DEGRADED_LIMIT, EXPLAIN, STICKY_KEY } from "../scope.js";
import { type Access, type Caller, EVERYBODY } from "../security/access.js";
import { runInSlices } from "../slices.js";
import { httpsOptions, type TlsOptions } from "../tls.js";
import { InferRest, type InferRestAnswer } from "../v2/rest.js";
import { traceAttributes } from "../tracing/attributes.js";
import type { Tracing } from "../tracing/tracing.js";
import { type InferTarget, isInferPath, isOpenToAll, parseInferTarget } from "../v2/url.js";
import { describeServer } from "../config/describe-server.js";
import { BodyReader, BodyTooLargeError } from "./body.js";
import { gzipped } from "./compress.js";
import { QueuedResponses } from "./queued-responses.js";
import { isApiPath, parseTarget, type RestTarget } from "./url.js";

/** Where the server tells how it is configured; TensorFlow Serving answers 400 there. */
const CONFIG_PATH = "/v1/config";
const HEADERS_TIMEOUT_MS = 15_000;
const CHECK_INTERVAL_MAX_MS = 5000;
/** A client that does not take its answer is cut off this long after the request's own time limit. */
const STALL_MS = 60_000;

export interface RestFrontOptions {
  readonly manager: Manager;
  readonly predictor: Predictor;
  readonly metrics: ServerMetrics;
  readonly scopes: RequestScopes;
  readonly limits: ServerLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly isOpen: () => boolean;
  /** The program's version. */
  readonly serverVersion: string;
  /** What /readyz answers. */
  readonly isReady: () => boolean;
  readonly host: string;
  readonly port: number;
  /** Path of the Prometheus page; undefined = there is none. */
  readonly metricsPath: string | undefined;
  /** How the process was started: plain JSON without secrets. */
  readonly config: () => Readonly<Record<string, unknown>>;
  /** Absent = not encrypted. */
  readonly tls: TlsOptions | undefined;
  /** Absent = everybody may do everything. */
  readonly access: Access | undefined;
  /** Absent = requests are not traced. */
  readonly tracing: Tracing | undefined;
  readonly isCorsEnabled: boolean;
}

/** The REST side: TensorFlow Serving's API, the Open Inference Protocol, the Prometheus page, /healthz and /readyz. */
export class RestFront {
  readonly #options: RestFrontOptions;
  readonly #bodies: BodyReader;
  readonly #infer: InferRest;
  readonly #server: Server;
  readonly #queued = new QueuedResponses();
  #isClosing = false;

  constructor(options: RestFrontOptions) {
    const { limits } = options;
    this.#options = options;
    this.#bodies = new BodyReader(limits);
    this.#infer = new InferRest(options);
    const settings = {
      headersTimeout: Math.min(HEADERS_TIMEOUT_MS, limits.receiveTimeoutMs),
      requestTimeout: limits.receiveTimeoutMs,
      keepAliveTimeout: limits.keepAliveMs,
      connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MAX_MS, limits.receiveTimeoutMs),
    };
    const listener = (request: IncomingMessage, response: ServerResponse) => void this.#serve(request, response);
    this.#server = options.tls
      ? createTlsServer({ ...settings, ...httpsOptions(options.tls), handshakeTimeout: HEADERS_TIMEOUT_MS }, listener)
      : createServer(settings, listener);
    this.#server.maxConnections = limits.restConnectionsMax;
    this.#server.timeout = limits.restTimeoutMs === 0 ? 0 : limits.restTimeoutMs + STALL_MS;
  }

  /** @returns the bound port */
  async listen(): Promise<number> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (error) =>
        reject(new ServingError("UNAVAILABLE", `cannot listen on ${host}:${port}: ${error.message}`)),
      );
      this.#server.listen(port, host, resolve);
    });
    return (this.#server.address() as AddressInfo).port;
  }

  /** Certificates for connections from now on. Whether clients must show theirs is fixed when the server starts. */
  replaceTls(tls: TlsOptions): void {
    if ("setSecureContext" in this.#server) (this.#server as TlsServer).setSecureContext(httpsOptions(tls));
  }

  /** Takes no new connections; open ones are told to close with their next answer. */
  stopAccepting(): Promise<void> {
    this.#isClosing = true;
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  closeIdleConnections(): void {
    this.#server.closeIdleConnections();
  }

  closeAllConnections(): void {
    this.#server.closeAllConnections();
  }

  /** Never rejects: every failure becomes a status. */
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? "").split("?", 1)[0]!;
    const httpMethod = request.method ?? "";
    response.on("error", () => undefined); // the client went; its scope is aborted below
    this.#queued.watch(response, request.socket);
    if (this.#isClosing) response.setHeader("Connection", "close");
    if (path === this.#options.metricsPath) return this.#sendMetrics(request, response);
    if (path === CONFIG_PATH && httpMethod === "GET") return this.#sendConfig(request, response);
    if (path === "/healthz" || path === "/readyz") {
      const isOk = path === "/healthz" || this.#options.isReady();
      return void send(response, isOk ? 200 : 503, "text/plain", isOk ? "ok\n" : "not ready\n");
    }
    if (!isApiPath(path) && !isInferPath(path)) {
      const text = `Not found: ${httpMethod} ${path}; the API is under /v1/models and /v2/models`;
      return void send(response, 404, "application/json", errorBody(text));
    }
    if (this.#options.isCorsEnabled) {
      response.setHeader("Access-Control-Allow-Origin", "*");
      response.setHeader("Access-Control-Allow-Methods", "POST, GET");
      const headers = this.#options.access ? "Content-Type, Authorization" : "Content-Type";
      response.setHeader("Access-Control-Allow-Headers", headers);
    }
    if (httpMethod === "OPTIONS") {
      const isPreflight = /https?:\/\//.test(request.headers.origin ?? "");
      return void send(response, isPreflight ? 200 : 400, "application/json", "");
    }
    await this.#answer(request, response, httpMethod, path);
  }

  async #answer(request: IncomingMessage, response: ServerResponse, httpMethod: string, path: string): Promise<void> {
    const { tracing, clock, scopes, limits, isOpen, logger, manager, metrics } = this.#options;
    const startMs = clock.nowMs();
    const scope = scopes.begin(limits.restTimeoutMs === 0 ? undefined : limits.restTimeoutMs, {
      stickyKey: request.headers[STICKY_KEY]?.toString(),
      degradedLimit: request.headers[DEGRADED_LIMIT]?.toString(),
      isExplained: request.headers[EXPLAIN] !== undefined,
    });
    response.on("close", () => {
      if (!response.writableFinished) scope.cancel("the client closed the connection");
    });
    scope.trace = tracing?.begin(`HTTP ${httpMethod}`, startMs, (name) => request.headers[name]?.toString());
    let target: RestTarget | InferTarget | undefined;
    let failure: ServingError | undefined;
    let by: ServableId | undefined;
    let status: GrpcStatusName = "OK";
    try {
      if (!isOpen()) throw new ServingError("DRAINING", "the server is draining and takes no new requests");
      if (scopes.count > limits.requestsInFlightMax) {
        throw new ServingError("RESOURCE_EXHAUSTED", `${limits.requestsInFlightMax} requests are under way already`);
      }
      const isInfer = isInferPath(path);
      const caller = isInfer && isOpenToAll(path) ? EVERYBODY : this.#callerOf(request);
      target = isInfer ? parseInferTarget(httpMethod, path) : parseTarget(httpMethod, path);
      const isRun = httpMethod === "POST" && target.method !== "index";
      caller.check(isRun ? "predict" : "describe", "spec" in target ? target.spec.name : target.model);
      const answer =
        "spec" in target
          ? await this.#dispatch(target, request, scope)
          : await this.#dispatchInfer(target, request, scope);
      by = answer.by;
      for (const [name, value] of answerEntries(answer.by, answer.report, scope.explanation)) {
        response.setHeader(name, value);
      }
      const { httpStatus = 200, contentType = "application/json", headers = {} }: InferRestAnswer = answer;
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
      const compressed = await gzipped(answer.body, request.headers["accept-encoding"]);
      if (compressed) {
        response.setHeader("Content-Encoding", "gzip");
        response.setHeader("Vary", "Accept-Encoding");
      }
      await send(response, httpStatus, contentType, compressed ?? answer.body);
    } catch (reason) {
      const error = ServingError.from(reason);
      failure = error;
      status = error.status;
      if (status === "INTERNAL") logger.error({ err: error, path }, "a request failed");
      // A body that was not read to its end makes the connection useless.
      if (!request.complete) response.setHeader("Connection", "close");
      response.setHeader("x-shardserve-error", error.code);
      setChallenge(response, status);
      const code = error instanceof BodyTooLargeError ? 413 : HTTP_STATUS[status];
      await send(response, code, "application/json", errorBody(error.message));
    } finally {
      scope.end();
      const asked = target && ("spec" in target ? target.spec.name : target.model);
      const model = asked !== undefined && manager.isKnown(asked) ? asked : "";
      const api = target && httpMethod === "POST" ? target.method : "";
      metrics.requestDone(model, api, "REST", status, clock.nowMs() - startMs);
      scope.trace?.end(
        { ...traceAttributes(model, by), "http.request.method": httpMethod, "shardserve.method": target?.method ?? "" },
        failure,
      );
    }
  }

  async #dispatch(target: RestTarget, request: IncomingMessage, scope: RequestScope): Promise<Answer> {
    const { manager, predictor } = this.#options;
    if (target.method === "status") {
      return {
        body: Buffer.from(modelStatusJson(modelStatuses(manager, target.spec))),
        report: undefined,
        by: undefined,
      };
    }
    if (target.method === "metadata") {
      using handle = predictor.handle(target.spec);
      return { body: Buffer.from(modelMetadataJson(handle)), report: undefined, by: handle.id };
    }
    const { body, release } = await this.#bodies.read(request, scope.signal);
    try {
      return await (target.method === "predict"
        ? this.#predict(target, body, scope)
        : this.#examples(target, body, scope));
    } finally {
      release();
    }
  }

  async #dispatchInfer(target: InferTarget, request: IncomingMessage, scope: RequestScope): Promise<InferRestAnswer> {
    if (target.method !== "infer") return this.#infer.describe(target);
    const { body, release } = await this.#bodies.read(request, scope.signal);
    try {
      return await this.#infer.infer(target, request.headers, body, scope);
    } finally {
      release();
    }
  }

  async #predict(target: RestTarget, bytes: Buffer, scope: RequestScope): Promise<Answer> {
    const { predictor } = this.#options;
    const document = await runInSlices(indexJson(bytes), scope.signal);
    const root = rootObject(document);
    const signatureName = signatureNameOf(document, root) || DEFAULT_SIGNATURE;
    using handle = predictor.handle(target.spec, scope);
    const signature = handle.model.signatures.get(signatureName);
    if (!signature) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        `Serving signature name: "${signatureName}" not found in signature def`,
      );
    }
    const { format, inputs } = await runInSlices(readPredictBody(document, root, signature), scope.signal);
    const { outputs, report } = await predictor.run(handle, signature, inputs, undefined, scope, "Predict");
    const startMs = this.#options.clock.nowMs();
    const body = await runInSlices(format === "row" ? rowsToJson(outputs) : columnsToJson(outputs), scope.signal);
    predictor.encoded(handle.id, signature.name, scope, startMs);
    const { requestLog } = predictor;
    if (requestLog?.isSampled(handle.id.name)) requestLog.writePredict(inputs, outputs, handle.id, signature.name);
    return { body, report, by: handle.id };
  }

  async #examples(target: RestTarget, bytes: Buffer, scope: RequestScope): Promise<Answer> {
    const { predictor } = this.#options;
    const document = await runInSlices(indexJson(bytes), scope.signal);
    const root = rootObject(document);
    const spec = { ...target.spec, signatureName: signatureNameOf(document, root) };
    const examples = await runInSlices(readExampleBody(document, root), scope.signal);
    if (target.method === "classify") {
      const { result, spec: modelSpec, report, by } = await classify(predictor, spec, () => examples, scope);
      logExamples("Classify", predictor, examples, by, modelSpec, () =>
        toBinary(ClassificationResponseSchema, create(ClassificationResponseSchema, { result, modelSpec })),
      );
      return { body: classificationToJson(result), report, by };
    }
    const { result, spec: modelSpec, report, by } = await regress(predictor, spec, () => examples, scope);
    logExamples("Regress", predictor, examples, by, modelSpec, () =>
      toBinary(RegressionResponseSchema, create(RegressionResponseSchema, { result, modelSpec })),
    );
    return { body: regressionToJson(result), report, by };
  }

  async #sendConfig(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { manager, serverVersion, config } = this.#options;
    try {
      this.#callerOf(request).check("describe", "*");
      const text = JSON.stringify(describeServer(manager, serverVersion, config()), undefined, 2);
      await send(response, 200, "application/json", `${text}\n`);
    } catch (reason) {
      const { status, message } = ServingError.from(reason);
      setChallenge(response, status);
      await send(response, HTTP_STATUS[status], "application/json", errorBody(message));
    }
  }

  async #sendMetrics(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      this.#callerOf(request).check("metrics", "*");
      await send(response, 200, "text/plain", await this.#options.metrics.page());
    } catch (error) {
      const { status, message } = ServingError.from(error);
      if (status === "INTERNAL") this.#options.logger.error({ err: error }, "the metrics page failed");
      setChallenge(response, status);
      await send(response, HTTP_STATUS[status], "text/plain", `${message}\n`);
    }
  }

  /** @throws ServingError UNAUTHENTICATED */
  #callerOf(request: IncomingMessage): Caller {
    const { access } = this.#options;
    return access ? access.callerOf(request.headers.authorization) : EVERYBODY;
  }
}

function logExamples(
  call: "Classify" | "Regress",
  { requestLog }: Predictor,
  examples: Tensor<"string">,
  by: ServableId,
  { signatureName }: ModelSpec,
  response: () => Uint8Array,
): void {
  if (requestLog?.isSampled(by.name)) requestLog.writeExamples(call, examples, response(), by, signatureName);
}

/** What HTTP wants with a 401. */
function setChallenge(response: ServerResponse, status: GrpcStatusName): void {
  if (status === "UNAUTHENTICATED") response.setHeader("WWW-Authenticate", "Bearer");
}

function errorBody(message: string): string {
  return JSON.stringify({ error: message }, null, 4);
}

/** Resolves once the answer was handed to the system, or the client is gone. */
function send(response: ServerResponse, status: number, type: string, body: Buffer | string): Promise<void> {
  return new Promise((resolve) => {
    response.once("close", resolve);
    if (response.destroyed) return resolve();
    response.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(body) });
    response.end(body, () => resolve());
  });
}
