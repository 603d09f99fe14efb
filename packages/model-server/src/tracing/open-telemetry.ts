import type { Context, Span } from "@opentelemetry/api";
import type { SpanExporter } from "@opentelemetry/sdk-trace-base";
import { type Clock, type Logger, silentLogger, systemClock, TraceParent } from "@shardserve/core";
import type { RequestTrace, TraceAttributes, TraceError, Tracing } from "./tracing.js";

/** For {@link openTelemetry}: where spans go, and which share of the requests. */
export interface OpenTelemetryOptions {
  /** Where spans go, OTLP over HTTP: "http://collector:4318/v1/traces". */
  readonly endpoint: string;
  /** Part of the requests without a caller's trace that begin one, 0 to 1; a caller's decision counts otherwise. */
  readonly samplingRate: number;
  readonly serviceName: string;
  readonly serviceVersion: string;
  readonly clock?: Clock;
  readonly logger?: Logger;
  /** Instead of the endpoint, in tests. */
  readonly exporter?: SpanExporter;
}

/**
 * Traces by the OpenTelemetry SDK, which is loaded only now. A request is a span of kind SERVER with the spans queue, host,
 * lookup, device and encode inside; W3C's traceparent and tracestate are honoured. What cannot be sent in time is dropped:
 * the SDK's queue is bounded. The SDK's own variables say more of the process, and go before what the options say:
 * OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME.
 */
export async function openTelemetry(options: OpenTelemetryOptions): Promise<Tracing> {
  const [api, core, resources, sdk, otlp] = await Promise.all([
    import("@opentelemetry/api"),
    import("@opentelemetry/core"),
    import("@opentelemetry/resources"),
    import("@opentelemetry/sdk-trace-base"),
    import("@opentelemetry/exporter-trace-otlp-http"),
  ]);
  const { samplingRate, serviceName, serviceVersion, clock = systemClock, logger = silentLogger } = options;
  const complain = (message: string) => logger.warn({}, `traces: ${message}`);
  const quiet = () => undefined;
  api.diag.setLogger({ error: complain, warn: complain, info: quiet, debug: quiet, verbose: quiet });
  const random = new sdk.RandomIdGenerator();
  /** Of the span that is started next: one that was named before. */
  let reservedId: string | undefined;
  const provider = new sdk.BasicTracerProvider({
    idGenerator: {
      generateTraceId: () => random.generateTraceId(),
      generateSpanId: () => reservedId ?? random.generateSpanId(),
    },
    resource: resources
      .resourceFromAttributes({ "service.name": serviceName, "service.version": serviceVersion })
      .merge(resources.detectResources({ detectors: [resources.envDetector] })),
    sampler: new sdk.ParentBasedSampler({ root: new sdk.TraceIdRatioBasedSampler(samplingRate) }),
    spanProcessors: [
      new sdk.BatchSpanProcessor(options.exporter ?? new otlp.OTLPTraceExporter({ url: options.endpoint })),
    ],
  });
  const tracer = provider.getTracer("shardserve", serviceVersion);
  const propagator = new core.W3CTraceContextPropagator();
  const getter = {
    keys: () => ["traceparent", "tracestate"],
    get: (header: (name: string) => string | undefined, key: string) => header(key),
  };

  return {
    begin(name, startMs, header) {
      const parent = propagator.extract(api.ROOT_CONTEXT, header, getter);
      const kind = api.SpanKind.SERVER;
      // Between the clocks, once for a trace: its spans must fit together to the microsecond.
      const epochMs = clock.wallMs() - clock.nowMs();
      const span = tracer.startSpan(name, { kind, startTime: epochMs + startMs }, parent);
      return span.isRecording() ? trace(span, api.trace.setSpan(parent, span), epochMs) : undefined;
    },
    record(name, startMs, { traceId, spanId }, attributes, error) {
      const epochMs = clock.wallMs() - clock.nowMs();
      const remote = { traceId, spanId, traceFlags: api.TraceFlags.SAMPLED, isRemote: true };
      const parent = api.trace.setSpanContext(api.ROOT_CONTEXT, remote);
      const span = tracer.startSpan(name, { kind: api.SpanKind.SERVER, startTime: epochMs + startMs }, parent);
      end(span, epochMs, attributes, error);
    },
    close: () => provider.shutdown(),
  };

  function trace(span: Span, context: Context, epochMs: number): RequestTrace {
    return {
      reserve: () => new TraceParent(span.spanContext().traceId, random.generateSpanId()),
      stage(name, startMs, durationMs, reserved) {
        reservedId = reserved?.spanId;
        const child = tracer.startSpan(name, { startTime: epochMs + startMs }, context);
        reservedId = undefined;
        child.end(epochMs + startMs + durationMs);
      },
      end: (attributes, error) => end(span, epochMs, attributes, error),
    };
  }

  function end(span: Span, epochMs: number, attributes: TraceAttributes, error: TraceError | undefined): void {
    span.setAttributes(attributes);
    if (error) {
      span.setAttribute("shardserve.error", error.code);
      span.setStatus({ code: api.SpanStatusCode.ERROR, message: error.message });
    }
    span.end(epochMs + clock.nowMs());
  }
}
