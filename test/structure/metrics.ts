import { Controller } from "@shardserve/controller";
import { LookupMetrics } from "@shardserve/lookup";
import { ModelServer } from "@shardserve/model-server";
import { MemoryRegistry } from "@shardserve/registry";
import { Manager } from "@shardserve/servable";
import { ShardMetrics } from "@shardserve/shard";
import { Registry } from "prom-client";
import { UpdateMetrics } from "shardserve/metrics";

export interface RegisteredMetric {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
  /** Which process shows it. */
  readonly process: "executor" | "shard" | "apply";
}

/** Every metric that the code registers, asked of the registries themselves. */
export function registeredMetrics(): RegisteredMetric[] {
  const executor = new Registry();
  new LookupMetrics(executor);
  new ModelServer({
    manager: new Manager({ loader: { load: () => Promise.reject(new Error("unused")) } }),
    metricsRegistry: executor,
  });
  const shard = new Registry();
  new ShardMetrics(shard);
  new Controller({
    registry: new MemoryRegistry(),
    self: { id: "s", instance: "i" },
    repositoryDir: ".",
    metrics: shard,
  });
  const apply = new Registry();
  new UpdateMetrics(apply);
  return [...metricsOf(executor, "executor"), ...metricsOf(shard, "shard"), ...metricsOf(apply, "apply")];
}

function metricsOf(registry: Registry, process: RegisteredMetric["process"]): RegisteredMetric[] {
  return registry.getMetricsAsArray().map((metric) => {
    // prom-client keeps the label names and the type on the object and declares neither.
    const { name, labelNames, type } = metric as unknown as {
      readonly name: string;
      readonly labelNames: readonly string[];
      readonly type: string;
    };
    return { name, type, labels: labelNames, process };
  });
}
