import { type Logger, ServingError } from "@shardserve/core";
import { aspiredKey, aspiredRecord, type Registry } from "@shardserve/registry";
import type { ServableId } from "@shardserve/servable";
import { change, wishFor } from "../operator/operator.js";

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
        const aspired = state.models.get(name)?.aspired;
        if (aspired?.policy.kind === "specific") return undefined;
        logger.warn({ model: name, version, to }, "the cluster goes back to the version before");
        return aspiredRecord.encode(wishFor({ kind: "specific", versions: [to] }, aspired));
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
