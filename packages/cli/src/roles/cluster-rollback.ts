import { type Logger, ServingError } from "@shardserve/core";
import { aspiredKey, aspiredRecord, type Registry } from "@shardserve/registry";
import type { ServableId } from "@shardserve/servable";
import { change } from "./operator.js";

/**
 * Makes the whole cluster want the version that an executor went back to, as `shardserve rollback` does. Only where the
 * version that did worse is the one in force: an operator's own wish stays.
 *
 * Never rejects: what it could not write is logged, and this executor serves the version before for as long as it may.
 */
export async function rollBackCluster(
  registry: Registry,
  { name, version }: ServableId,
  to: number,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  try {
    await change(
      registry,
      aspiredKey(name),
      (state) => {
        const model = state.models.get(name);
        const { policy = { kind: "latest", count: 1 }, replication } = model?.aspired ?? {};
        if (policy.kind === "specific") return undefined;
        logger.warn({ model: name, version, to }, "the cluster goes back to the version before");
        const kept = replication === undefined ? {} : { replication };
        return aspiredRecord.encode({ policy: { kind: "specific", versions: [to] }, ...kept });
      },
      signal,
    );
  } catch (error) {
    if (signal.aborted) return;
    logger.error(
      { model: name, version, to, error: ServingError.from(error).message },
      "the cluster was not rolled back",
    );
  }
}
