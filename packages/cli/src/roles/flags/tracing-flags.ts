import { type Logger, ServingError } from "@shardserve/core";
import { openTelemetry, type OpenTelemetryOptions, type Tracing } from "@shardserve/model-server";
import { VERSION } from "../../version.js";
import { flag } from "../../flags.js";

/** Flags of everything that sends traces. */
export const TRACING_FLAGS = {
  otlpEndpoint: flag.text("where OpenTelemetry traces go, such as http://collector:4318/v1/traces", "URL", ""),
};

/**
 * @returns undefined where no collector is named: nothing is traced
 * @throws ServingError CONFIG_INVALID when it is no URL
 */
export async function openTracing(
  { otlpEndpoint: endpoint }: { readonly otlpEndpoint: string },
  options: Pick<OpenTelemetryOptions, "samplingRate" | "serviceName">,
  logger: Logger,
): Promise<Tracing | undefined> {
  if (endpoint === "") return undefined;
  if (!URL.canParse(endpoint) || !/^https?:/.test(endpoint)) {
    throw new ServingError(
      "CONFIG_INVALID",
      `--otlp-endpoint=${endpoint}: a URL such as http://collector:4318/v1/traces is needed`,
    );
  }
  return openTelemetry({ endpoint, ...options, serviceVersion: VERSION, logger });
}
