import type { IncomingMessage } from "node:http";
import { HTTP_STATUS, ServingError } from "@shardserve/core";
import type { ServableId } from "@shardserve/servable";
import type { FrontOptions } from "../front-options.js";
import { answerEntries } from "../predict/report.js";
import { DEGRADED_LIMIT, EXPLAIN, type RequestScope, STICKY_KEY } from "../scope.js";
import { type Caller, EVERYBODY } from "../security/access.js";
import { traceAttributes } from "../tracing/attributes.js";
import { InferRest, type InferRestAnswer } from "../v2/rest.js";
import { type InferTarget, isInferPath, isOpenToAll, parseInferTarget } from "../v2/url.js";
import { BodyReader, BodyTooLargeError } from "./body.js";
import { gzipped, isToCompress } from "./compress.js";
import { isStillSent, linger } from "./linger.js";
import { ModelCalls } from "./model-calls.js";
import { challengeOf, errorBody, type Reply } from "./reply.js";
import { parseTarget, type RestTarget } from "./url.js";

type Target = RestTarget | InferTarget;

/** Answers the requests of both REST APIs: who may ask, within which limits, counted and traced. */
export class RestApi {
  readonly #options: FrontOptions;
  readonly #bodies: BodyReader;
  readonly #calls: ModelCalls;
  readonly #infer: InferRest;

  constructor(options: FrontOptions) {
    this.#options = options;
    this.#bodies = new BodyReader(options.limits);
    this.#calls = new ModelCalls(options);
    this.#infer = new InferRest(options);
  }

  /** Never rejects: every failure becomes a status. */
  async answer(request: IncomingMessage, reply: Reply, httpMethod: string, path: string): Promise<void> {
    const { tracing, clock, scopes, limits } = this.#options;
    const { headers } = request;
    const startMs = clock.nowMs();
    const scope = scopes.begin(limits.restTimeoutMs === 0 ? undefined : limits.restTimeoutMs, {
      stickyKey: headers[STICKY_KEY]?.toString(),
      degradedLimit: headers[DEGRADED_LIMIT]?.toString(),
      isExplained: headers[EXPLAIN] !== undefined,
    });
    reply.onOver(() => scope.cancel("the client closed the connection"));
    scope.trace = tracing?.begin(`HTTP ${httpMethod}`, startMs, (name) => headers[name]?.toString());
    let target: Target | undefined;
    let failure: ServingError | undefined;
    let by: ServableId | undefined;
    let isUnread = false;
    try {
      this.#admit();
      const isInfer = isInferPath(path);
      const caller = isInfer && isOpenToAll(path) ? EVERYBODY : this.callerOf(request);
      target = isInfer ? parseInferTarget(httpMethod, path) : parseTarget(httpMethod, path);
      const isRun = httpMethod === "POST" && target.method !== "index";
      caller.check(isRun ? "predict" : "describe", nameIn(target));
      const answer = await this.#call(target, request, scope);
      by = answer.by;
      await sendAnswer(reply, answer, scope, headers["accept-encoding"]);
    } catch (reason) {
      failure = ServingError.from(reason);
      isUnread = this.#sendFailure(reply, failure, request, path);
    }
    const over = () => {
      scope.end();
      this.#count(target, httpMethod, failure, startMs);
      const attributes = { "http.request.method": httpMethod, "shardserve.method": target?.method ?? "" };
      scope.trace?.end({ ...traceAttributes(this.#knownName(target), by), ...attributes }, failure);
    };
    // A client that goes on sending what nobody reads keeps its connection, but no place among the requests under way.
    if (isUnread) over();
    else reply.onOver(over);
  }

  /** @throws ServingError UNAUTHENTICATED */
  callerOf(request: IncomingMessage): Caller {
    const { access } = this.#options;
    return access ? access.callerOf(request.headers.authorization) : EVERYBODY;
  }

  /** @throws ServingError DRAINING, RESOURCE_EXHAUSTED for a request that is not to be begun */
  #admit(): void {
    const { isOpen, scopes, limits } = this.#options;
    if (!isOpen()) throw new ServingError("DRAINING", "the server is draining and takes no new requests");
    if (scopes.count > limits.requestsInFlightMax) {
      throw new ServingError("RESOURCE_EXHAUSTED", `${limits.requestsInFlightMax} requests are under way already`);
    }
  }

  async #call(target: Target, request: IncomingMessage, scope: RequestScope): Promise<InferRestAnswer> {
    const isRest = "spec" in target;
    if (isRest && (target.method === "status" || target.method === "metadata")) return this.#calls.describe(target);
    if (!isRest && target.method !== "infer") return this.#infer.describe(target);
    const body = await this.#bodies.read(request, scope.signal);
    try {
      return await (isRest
        ? this.#calls.run(target, body.bytes, scope)
        : this.#infer.infer(target, request.headers, body.bytes, scope));
    } finally {
      scope.whenUnpinned(() => body.release());
    }
  }

  /** @returns whether some of the request's body has not come and will not be read */
  #sendFailure(reply: Reply, error: ServingError, request: IncomingMessage, path: string): boolean {
    const { code, status, message } = error;
    if (status === "INTERNAL") this.#options.logger.error({ err: error, path }, "a request failed");
    // A body that is not read makes the connection useless.
    const isUnread = isStillSent(request);
    const ending = isUnread ? ["Connection", "close"] : [];
    const httpStatus = error instanceof BodyTooLargeError ? 413 : HTTP_STATUS[status];
    const headers = [...ending, "x-shardserve-error", code, ...challengeOf(status)];
    const whenToEnd = isUnread ? (end: () => void) => linger(request, this.#options.clock, end) : undefined;
    reply.send(httpStatus, "application/json", errorBody(message), headers, whenToEnd);
    return isUnread;
  }

  #count(target: Target | undefined, httpMethod: string, failure: ServingError | undefined, startMs: number): void {
    const { metrics, clock } = this.#options;
    const api = target && httpMethod === "POST" ? target.method : "";
    const status = failure?.status ?? "OK";
    metrics.requestDone(this.#knownName(target), api, "REST", status, clock.nowMs() - startMs);
  }

  /** The model that was asked for; "" where there is none of that name. */
  #knownName(target: Target | undefined): string {
    if (!target) return "";
    const name = nameIn(target);
    return this.#options.manager.isKnown(name) ? name : "";
  }
}

function nameIn(target: Target): string {
  return "spec" in target ? target.spec.name : target.model;
}

async function sendAnswer(
  reply: Reply,
  answer: InferRestAnswer,
  { explanation }: RequestScope,
  acceptEncoding: string | string[] | undefined,
): Promise<void> {
  const { body, httpStatus = 200, contentType = "application/json" } = answer;
  const headers: string[] = [];
  for (const entry of answerEntries(answer.by, answer.report, explanation)) headers.push(...entry);
  for (const entry of Object.entries(answer.headers ?? {})) headers.push(...entry);
  if (!isToCompress(body, acceptEncoding)) return reply.send(httpStatus, contentType, body, headers);
  headers.push("Content-Encoding", "gzip", "Vary", "Accept-Encoding");
  reply.send(httpStatus, contentType, await gzipped(body), headers);
}
