import { ServingError, systemClock } from "@shardserve/core";
import { MapFollower } from "@shardserve/registry";
import { parseAddress } from "@shardserve/transport";
import { Registry } from "prom-client";
import { defineCommand } from "../command.js";
import { flag, refusePositionals } from "../flags.js";
import { EPOCH_FLAGS, openPlaces } from "../roles/updates/open-places.js";
import { UNFOLDED_MAX } from "../roles/updates/chain-folder.js";
import { GUARD_FLAGS, openGuard } from "../roles/flags/guard-flags.js";
import { checkFree } from "../roles/process/free-addresses.js";
import { METRICS_FLAGS, MetricsEndpoint } from "../roles/process/metrics-endpoint.js";
import { runUntilStopped } from "../roles/serving/model-front.js";
import { openRegistry, REGISTRY_FLAGS } from "../roles/flags/registry-flags.js";
import { refusalsOf } from "../roles/updates/refusals.js";
import { UpdateMetrics } from "../roles/updates/update-metrics.js";
import type { UpdateWriterOptions } from "../roles/updates/update-writer.js";
import { UpdateService } from "../roles/updates/update-service.js";

export const apply = defineCommand({
  name: "apply",
  summary: "Takes rows from online training over gRPC (ApplyRows) and puts them in force, epoch by epoch",
  usage: "--etcd=HOSTS --model_repository=BASE [--listen=HOST:PORT]",
  examples: [
    "shardserve apply --etcd=e1:2379,e2:2379,e3:2379 --cluster=prod --model_repository=/models --listen=0.0.0.0:8700",
    "shardserve apply --etcd=localhost:2379 --model_repository=/models --epoch-seconds=0.5 --keep-epochs=600 --fold-epochs=200",
    "shardserve apply --etcd=localhost:2379 --model_repository=/models --ssl-config-file=tls.cfg --auth-tokens-file=tokens.json",
    "shardserve apply --etcd=localhost:2379 --model_repository=s3://bucket/models --staging-dir=/mnt/disk --epoch-seconds=5",
  ],
  flags: {
    listen: flag.text("address of UpdateService over gRPC; port 0 = any free one", "HOST:PORT", "0.0.0.0:8700"),
    ...GUARD_FLAGS,
    ...METRICS_FLAGS,
    ...EPOCH_FLAGS,
    epochSeconds: flag.number("least time between two epochs", 0, 3_600, 1),
    commitTimeoutSeconds: flag.number(
      "how long an epoch may take into force before its rows go back to their senders",
      1,
      86_400,
      120,
    ),
    epochBytes: flag.bytes("bytes of rows that an epoch takes; about four times as much memory is used", 64 * 2 ** 20),
    keepEpochs: flag.int("newest epochs that can be gone back to; older ones may be folded into one", 2, 800, 300),
    foldEpochs: flag.int("epochs that gather behind those before they are folded", 1, 800, 300),
    ...REGISTRY_FLAGS,
  },
  async run(positionals, flags, terminal) {
    refusePositionals("apply", positionals);
    const { keepEpochs, foldEpochs } = flags;
    if (keepEpochs + foldEpochs > UNFOLDED_MAX)
      throw new ServingError(
        "CONFIG_INVALID",
        `apply: --keep-epochs ${keepEpochs} and --fold-epochs ${foldEpochs} are more than ${UNFOLDED_MAX} together`,
      );
    const { logger, signal } = terminal;
    const { guard, files } = await openGuard(flags, logger);
    const registry = openRegistry(flags, "apply", terminal.environment, logger);
    const follower = new MapFollower(registry, { logger });
    const metricsRegistry = new Registry();
    await using places = await openPlaces(flags, "apply", registry, terminal);
    const options: UpdateWriterOptions = {
      follower,
      refusalsOf: (model, version) =>
        refusalsOf(registry, { model, version, shards: follower.map(model, version)?.shards ?? [] }),
      places,
      epochMs: flags.epochSeconds * 1000,
      commitTimeoutMs: flags.commitTimeoutSeconds * 1000,
      epochBytesMax: flags.epochBytes,
      fold: { keepEpochs, foldEpochs },
      metrics: new UpdateMetrics(metricsRegistry),
      signal,
      clock: systemClock,
      logger,
    };
    const service = new UpdateService(flags.listen, options, guard);
    const isReady = () => service.state === "ready";
    const metrics = MetricsEndpoint.from(flags, { registry: metricsRegistry, isHealthy: isReady, isReady });
    try {
      await checkFree([{ flag: "--listen", address: parseAddress(flags.listen) }, ...MetricsEndpoint.listening(flags)]);
      follower.start();
      await follower.reach({ signal });
      await service.start({ signal });
      await metrics?.start();
      for (const file of files) await file.start({ signal });
      terminal.print(`apply: gRPC on ${service.address}${metrics ? `, metrics on port ${metrics.port}` : ""}`);
      await runUntilStopped(service, terminal, 1000);
    } finally {
      for (const file of files) await file.close();
      await service.close();
      await metrics?.close();
      await follower.close();
      await registry.close();
    }
  },
});
