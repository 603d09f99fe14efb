import { MonitoringConfigSchema } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { readTextFile } from "./text-file.js";

/**
 * Reads a --monitoring_config_file: a MonitoringConfig in protobuf's text format.
 *
 * @returns the path of the Prometheus page; undefined = the default one, null = the file turns it off
 * @throws ServingError NOT_FOUND, CONFIG_INVALID
 */
export async function readMonitoringPath(file: string): Promise<string | null | undefined> {
  const { prometheusConfig } = await readTextFile(MonitoringConfigSchema, file);
  if (!prometheusConfig?.enable) return null;
  const { path } = prometheusConfig;
  if (path !== "" && !path.startsWith("/")) {
    throw new ServingError("CONFIG_INVALID", `${file}: the path "${path}" does not begin with /`);
  }
  return path === "" ? undefined : path;
}
