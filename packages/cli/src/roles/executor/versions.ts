import { type Logger, ServingError } from "@shardserve/core";
import type { MapFollower } from "@shardserve/registry";
import type { Manager } from "@shardserve/servable";
import type { WhenLoaded } from "../serving/model-front.js";

/** Begins to serve what the cluster has in force, and waits for the first of it; a model that cannot be loaded keeps none of the others. */
export function loadFollowed(follower: MapFollower, logger: Logger): WhenLoaded {
  return async (manager, signal) => {
    followVersions(follower, manager);
    await follower.reach({ signal });
    await manager.whenAvailable(follower.models(), { signal }).catch((error: unknown) => {
      signal.throwIfAborted();
      logger.error({ error: ServingError.from(error).message }, "not every model could be loaded; serving the others");
    });
  };
}

/** Every version with an enabled partition map is wanted; a map that goes takes its version along. */
function followVersions(follower: MapFollower, manager: Manager): void {
  let known = new Set<string>();
  const update = () => {
    const models = new Set(follower.models());
    for (const model of new Set([...known, ...models])) {
      manager.setAspired(
        model,
        follower.versions(model).map((version) => ({ version, path: "" })),
      );
    }
    known = models;
  };
  follower.subscribe(update);
  follower.start();
}
