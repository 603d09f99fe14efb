import type { Http2Server, ServerHttp2Session } from "node:http2";
import {
  type handleUnaryCall,
  type sendUnaryData,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
} from "@grpc/grpc-js";
import { invariant, ServingError } from "@shardserve/core";
import type { ServableId } from "@shardserve/servable";
import { type Address, listenGrpc } from "@shardserve/transport";
import type { FrontOptions } from "../front-options.js";
import { DEGRADED_LIMIT, EXPLAIN, STICKY_KEY } from "../scope.js";
import { type Caller, EVERYBODY } from "../security/access.js";
import type { TlsOptions } from "../tls.js";
import { traceAttributes } from "../tracing/attributes.js";
import { inferenceMethods } from "../v2/grpc.js";
import { CallDeadlines } from "./call-deadlines.js";
import { HealthService } from "./health.js";
import { MessageInflater } from "./message-inflater.js";
import type { Method } from "./method.js";
import { ReflectionService } from "./reflection.js";
import {
  HEALTH_SERVICE,
  INFERENCE_SERVICE,
  MODEL_SERVICE,
  PREDICTION_SERVICE,
  REFLECTION_SERVICES,
  SESSION_SERVICE,
} from "./services.js";
import { answerTrailer, grpcError } from "./status.js";
import { StreamGuard } from "./stream-guard.js";
import { type Reload, tensorflowMethods } from "./tensorflow-methods.js";
import { TlsCredentials } from "./tls-credentials.js";

const KEEPALIVE_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

export interface GrpcFrontOptions extends FrontOptions {
  readonly address: Address;
  /** Absent = not encrypted. */
  readonly tls: TlsOptions | undefined;
  /** Applies the configuration of a HandleReloadConfigRequest. */
  readonly reload: Reload | undefined;
}

type Call = ServerUnaryCall<Buffer, Buffer>;

/** The gRPC side: TensorFlow Serving's three services, the Open Inference Protocol, grpc.health.v1 and reflection. */
export class GrpcFront {
  readonly health = new HealthService();
  readonly #reflection = new ReflectionService();
  readonly #options: GrpcFrontOptions;
  readonly #server: Server;
  readonly #tls: TlsCredentials | undefined;
  readonly #deadlines: CallDeadlines;
  readonly #guard: StreamGuard;
  /** Kept here because grpc-js knows its connections for a forced shutdown only where channelz is on. */
  readonly #sessions = new Set<ServerHttp2Session>();
  #bytesInFlight = 0;

  constructor(options: GrpcFrontOptions) {
    this.#options = options;
    this.#deadlines = new CallDeadlines(options.clock);
    this.#guard = new StreamGuard(options.limits, options.clock, options.logger);
    this.#tls = options.tls && new TlsCredentials(options.tls);
    this.#server = new Server({
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
      "grpc.enable_channelz": 0,
      // A peer that vanished without a word is noticed, and its calls end.
      "grpc.keepalive_time_ms": KEEPALIVE_MS,
      "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
      "grpc.max_concurrent_streams": options.limits.requestsInFlightMax,
      // Answers that a client does not read.
      "grpc-node.max_session_memory": Math.ceil(options.limits.messageBytesInFlightMax / 1e6),
      interceptors: [new MessageInflater(options.limits.messageBytesInFlightMax).interceptor],
    });
    const tensorflow = tensorflowMethods(options);
    this.#server.addService(PREDICTION_SERVICE, this.#unaries(tensorflow.prediction));
    this.#server.addService(SESSION_SERVICE, this.#unaries(tensorflow.session));
    this.#server.addService(MODEL_SERVICE, this.#unaries(tensorflow.model));
    this.#server.addService(INFERENCE_SERVICE, this.#unaries(inferenceMethods(options)));
    this.#server.addService(HEALTH_SERVICE, {
      Check: this.health.check.bind(this.health),
      Watch: this.health.watch.bind(this.health),
    });
    const reflection = this.#reflection;
    for (const service of REFLECTION_SERVICES) {
      this.#server.addService(service, { ServerReflectionInfo: reflection.info.bind(reflection) });
    }
  }

  /** @returns the bound port; 0 for a Unix socket */
  async listen(): Promise<number> {
    const credentials = this.#tls ?? ServerCredentials.createInsecure();
    const bound = await listenGrpc(this.#server, this.#options.address, credentials);
    this.#guardListeners();
    return "path" in bound ? 0 : bound.port;
  }

  #guardListeners(): void {
    for (const listener of listenersOf(this.#server)) {
      listener.maxConnections = this.#options.limits.grpcConnectionsMax;
      this.#guard.watch(listener);
      listener.on("session", (session) => {
        this.#sessions.add(session);
        session.once("close", () => this.#sessions.delete(session));
      });
    }
  }

  /** Certificates for connections from now on. @throws ServingError CONFIG_INVALID, see {@link TlsCredentials.replace} */
  replaceTls(tls: TlsOptions): void {
    this.#tls?.replace(tls);
  }

  /** Takes no new connections and ends each open one after its last call, at the latest after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    this.health.close();
    this.#reflection.close();
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(graceMs, () => {
        this.#server.forceShutdown();
        for (const session of this.#sessions) session.destroy();
      });
      this.#server.tryShutdown(() => {
        cancel();
        this.#guard.close();
        resolve();
      });
    });
  }

  #unaries(methods: Readonly<Record<string, Method>>): Record<string, handleUnaryCall<Buffer, Buffer>> {
    const unary =
      (method: Method): handleUnaryCall<Buffer, Buffer> =>
      (call, callback) =>
        void this.#answer(method, call, callback);
    return Object.fromEntries(Object.entries(methods).map(([name, method]) => [name, unary(method)]));
  }

  /** Never rejects: every failure becomes a status. */
  async #answer({ api, action, handle }: Method, call: Call, callback: sendUnaryData<Buffer>): Promise<void> {
    const { clock, scopes, limits, isOpen, tracing } = this.#options;
    const startMs = clock.nowMs();
    const scope = scopes.begin(this.#deadlines.leftMs(call.getDeadline()), {
      stickyKey: call.metadata.get(STICKY_KEY)[0]?.toString(),
      degradedLimit: call.metadata.get(DEGRADED_LIMIT)[0]?.toString(),
      isExplained: call.metadata.get(EXPLAIN).length > 0,
    });
    call.on("cancelled", () => scope.cancel("the client cancelled the call"));
    const bytes = call.request.length;
    this.#bytesInFlight += bytes;
    let model = "";
    let isAllowed = action === "open";
    let by: ServableId | undefined;
    let failure: ServingError | undefined;
    scope.trace = tracing?.begin(call.getPath().slice(1), startMs, (name) => call.metadata.get(name)[0]?.toString());
    try {
      if (!isOpen()) throw new ServingError("DRAINING", "the server is draining and takes no new requests");
      if (scopes.count > limits.requestsInFlightMax) {
        throw new ServingError("RESOURCE_EXHAUSTED", `${limits.requestsInFlightMax} requests are under way already`);
      }
      if (this.#bytesInFlight > limits.messageBytesInFlightMax && this.#bytesInFlight > bytes) {
        const text = `messages under way exceed ${limits.messageBytesInFlightMax} bytes; try again later`;
        throw new ServingError("RESOURCE_EXHAUSTED", text);
      }
      const caller = action === "open" ? EVERYBODY : this.#callerOf(call);
      const answer = await handle(call.request, scope, (name) => {
        model = name;
        if (action === "open") return;
        caller.check(action, name);
        isAllowed = true;
      });
      invariant(isAllowed, "a handler did not say whose request it is");
      by = answer.by;
      callback(null, answer.body, answerTrailer(answer, scope.explanation));
      this.#count(api, model, "OK", startMs);
    } catch (reason) {
      const error = ServingError.from(reason);
      failure = error;
      if (error.status === "INTERNAL") this.#options.logger.error({ err: error, api, model }, "a call failed");
      callback(grpcError(error));
      this.#count(api, model, error.status, startMs);
    } finally {
      scope.whenUnpinned(() => (this.#bytesInFlight -= bytes));
      scope.end();
      scope.trace?.end({ ...traceAttributes(model, by), "rpc.system": "grpc" }, failure);
    }
  }

  #callerOf(call: Call): Caller {
    const { access } = this.#options;
    return access ? access.callerOf(call.metadata.get("authorization")[0]?.toString()) : EVERYBODY;
  }

  #count(api: string, model: string, status: ServingError["status"], startMs: number): void {
    if (api === "") return;
    const { manager, metrics, clock } = this.#options;
    const known = manager.isKnown(model) ? model : "";
    metrics.requestDone(known, api, "GRPC", status, clock.nowMs() - startMs);
  }
}

/**
 * grpc-js has no bound on connections and hides the servers that have; tests notice when it hides them elsewhere. Its public way, sockets of
 * one's own (createConnectionInjector), was tried with 1.14.7: a drain with calls under way did not end; and it shows no streams.
 */
function listenersOf(server: Server): Iterable<Http2Server> {
  const { http2Servers } = server as unknown as { readonly http2Servers?: ReadonlyMap<Http2Server, unknown> };
  invariant(http2Servers && http2Servers.size > 0, "grpc-js keeps the servers that listen");
  return http2Servers.keys();
}
