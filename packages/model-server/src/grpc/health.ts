import { type sendUnaryData, type ServerUnaryCall, type ServerWritableStream, status } from "@grpc/grpc-js";
import {
  create,
  fromBinary,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus,
  HealthCheckResponseSchema,
  toBinary,
} from "@shardserve/api";

/** Services that report a status: the whole server, and the names that TensorFlow Serving registers. */
const SERVICES = [
  "",
  "ModelService",
  "PredictionService",
  "tensorflow.serving.ModelService",
  "tensorflow.serving.PredictionService",
];
const WATCHERS_MAX = 1000;

type HealthCall = ServerUnaryCall<Buffer, Buffer>;
type HealthStream = ServerWritableStream<Buffer, Buffer>;

/** grpc.health.v1.Health: SERVING unless told otherwise. */
export class HealthService {
  readonly #watchers = new Map<HealthStream, string>();
  #isServing = true;

  get isServing(): boolean {
    return this.#isServing;
  }

  /** SERVING or NOT_SERVING from now on; watchers are told and stay connected. */
  report(isServing: boolean): void {
    if (isServing === this.#isServing) return;
    this.#isServing = isServing;
    for (const [stream, service] of this.#watchers) stream.write(this.#response(service));
  }

  /** Ends the streams of all watchers. */
  close(): void {
    for (const stream of this.#watchers.keys()) stream.end();
    this.#watchers.clear();
  }

  check(call: HealthCall, callback: sendUnaryData<Buffer>): void {
    const service = requestedService(call.request);
    if (service === undefined) return callback({ code: status.INVALID_ARGUMENT, details: "no HealthCheckRequest" });
    if (!SERVICES.includes(service)) return callback({ code: status.NOT_FOUND, details: `unknown service ${service}` });
    callback(null, this.#response(service));
  }

  watch(stream: HealthStream): void {
    const service = requestedService(stream.request);
    if (service === undefined || this.#watchers.size >= WATCHERS_MAX) {
      const isFull = service !== undefined;
      stream.emit("error", {
        code: isFull ? status.RESOURCE_EXHAUSTED : status.INVALID_ARGUMENT,
        details: isFull ? `${WATCHERS_MAX} watchers are connected already` : "no HealthCheckRequest",
      });
      return;
    }
    this.#watchers.set(stream, service);
    stream.on("cancelled", () => this.#watchers.delete(stream));
    stream.write(this.#response(service));
  }

  #response(service: string): Buffer {
    const { SERVING, NOT_SERVING, SERVICE_UNKNOWN } = HealthCheckResponse_ServingStatus;
    const servingStatus = !SERVICES.includes(service) ? SERVICE_UNKNOWN : this.#isServing ? SERVING : NOT_SERVING;
    return Buffer.from(
      toBinary(HealthCheckResponseSchema, create(HealthCheckResponseSchema, { status: servingStatus })),
    );
  }
}

function requestedService(bytes: Buffer): string | undefined {
  try {
    return fromBinary(HealthCheckRequestSchema, bytes).service;
  } catch {
    return undefined; // answered as INVALID_ARGUMENT
  }
}
