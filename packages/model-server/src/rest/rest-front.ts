import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { HTTP_STATUS, ServingError } from "@shardserve/core";
import { formatAddress } from "@shardserve/transport";
import { describeServer } from "../config/describe-server.js";
import type { FrontOptions } from "../front-options.js";
import { checkSameVerification, httpsOptions, type TlsOptions } from "../tls.js";
import { isInferPath } from "../v2/url.js";
import { QueuedResponses } from "./queued-responses.js";
import { challengeOf, errorBody, type HeaderList, Reply } from "./reply.js";
import { RestApi } from "./rest-api.js";
import { isApiPath, pathOf } from "./url.js";

/** Where the server tells how it is configured; TensorFlow Serving answers 400 there. */
const CONFIG_PATH = "/v1/config";
const NO_HEADERS: HeaderList = [];
const CLOSING: HeaderList = ["Connection", "close"];
const HEADERS_TIMEOUT_MS = 15_000;
const CHECK_INTERVAL_MAX_MS = 5000;
/** A client that does not take its answer is cut off this long after the request's own time limit. */
const STALL_MS = 60_000;

export interface RestFrontOptions extends FrontOptions {
  readonly host: string;
  readonly port: number;
  /** Path of the Prometheus page; undefined = there is none. */
  readonly metricsPath: string | undefined;
  /** How the process was started: plain JSON without secrets. */
  readonly config: () => Readonly<Record<string, unknown>>;
  /** Absent = not encrypted. */
  readonly tls: TlsOptions | undefined;
  readonly isCorsEnabled: boolean;
}

/** The REST side: TensorFlow Serving's API, the Open Inference Protocol, the Prometheus page, /healthz and /readyz. */
export class RestFront {
  readonly #options: RestFrontOptions;
  readonly #api: RestApi;
  readonly #server: Server;
  readonly #queued = new QueuedResponses();
  /** Headers of every answer of an API. */
  readonly #apiHeaders: HeaderList;
  #isClosing = false;

  constructor(options: RestFrontOptions) {
    const { limits } = options;
    this.#options = options;
    this.#api = new RestApi(options);
    this.#apiHeaders = options.isCorsEnabled ? corsHeaders(options.access !== undefined) : [];
    const settings = {
      headersTimeout: Math.min(HEADERS_TIMEOUT_MS, limits.receiveTimeoutMs),
      requestTimeout: limits.receiveTimeoutMs,
      keepAliveTimeout: limits.keepAliveMs,
      connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MAX_MS, limits.receiveTimeoutMs),
    };
    const listener = (request: IncomingMessage, response: ServerResponse) => this.#serve(request, response);
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
        reject(
          new ServingError("UNAVAILABLE", `cannot serve REST on ${formatAddress({ host, port })}: ${error.message}`),
        ),
      );
      this.#server.listen(port, host, resolve);
    });
    return (this.#server.address() as AddressInfo).port;
  }

  /**
   * Certificates for connections from now on.
   *
   * @throws ServingError CONFIG_INVALID when whether clients must show certificates changed
   */
  replaceTls(tls: TlsOptions): void {
    const { tls: started } = this.#options;
    if (!started) return;
    checkSameVerification(started, tls);
    (this.#server as TlsServer).setSecureContext(httpsOptions(tls));
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

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { url = "", method: httpMethod = "" } = request;
    this.#queued.watch(response, request.socket);
    const path = pathOf(url);
    const closing = () => (this.#isClosing ? CLOSING : NO_HEADERS);
    if (path === this.#options.metricsPath) return void this.#sendMetrics(request, new Reply(response, closing));
    if (isApiPath(path) || isInferPath(path)) {
      if (path === CONFIG_PATH && httpMethod === "GET") return this.#sendConfig(request, new Reply(response, closing));
      const reply = new Reply(response, () => [...closing(), ...this.#apiHeaders]);
      if (httpMethod !== "OPTIONS") return void this.#api.answer(request, reply, httpMethod, path);
      const isPreflight = /https?:\/\//.test(request.headers.origin ?? "");
      return reply.send(isPreflight ? 200 : 400, "application/json", "");
    }
    const reply = new Reply(response, closing);
    if (path === "/healthz" || path === "/readyz") {
      const isOk = path === "/healthz" || this.#options.isReady();
      return reply.send(isOk ? 200 : 503, "text/plain", isOk ? "ok\n" : "not ready\n");
    }
    const text = `Not found: ${httpMethod} ${path}; the API is under /v1/models and /v2/models`;
    reply.send(404, "application/json", errorBody(text));
  }

  #sendConfig(request: IncomingMessage, reply: Reply): void {
    const { manager, serverVersion, config } = this.#options;
    try {
      this.#api.callerOf(request).check("describe", "*");
      const text = JSON.stringify(describeServer(manager, serverVersion, config()), undefined, 2);
      reply.send(200, "application/json", `${text}\n`);
    } catch (reason) {
      const { status, message } = ServingError.from(reason);
      reply.send(HTTP_STATUS[status], "application/json", errorBody(message), challengeOf(status));
    }
  }

  async #sendMetrics(request: IncomingMessage, reply: Reply): Promise<void> {
    try {
      this.#api.callerOf(request).check("metrics", "*");
      reply.send(200, "text/plain", await this.#options.metrics.page());
    } catch (error) {
      const { status, message } = ServingError.from(error);
      if (status === "INTERNAL") this.#options.logger.error({ err: error }, "the metrics page failed");
      reply.send(HTTP_STATUS[status], "text/plain", `${message}\n`, challengeOf(status));
    }
  }
}

function corsHeaders(takesTokens: boolean): HeaderList {
  const allowed = takesTokens ? "Content-Type, Authorization" : "Content-Type";
  const pairs = [
    ["Access-Control-Allow-Origin", "*"],
    ["Access-Control-Allow-Methods", "POST, GET"],
    ["Access-Control-Allow-Headers", allowed],
  ];
  return pairs.flat();
}
