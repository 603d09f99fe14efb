import type { Model } from "./model.js";
import type { ServableId } from "./servable-id.js";

/** What a loader is given beside the version. */
export interface LoadOptions {
  readonly signal: AbortSignal;
  /**
   * To be called by a loader that knows what the engine will need beside the files, before it takes it; absent = nobody counts.
   *
   * @throws ServingError MEMORY_LIMIT when there is less: the load ends with it
   */
  readonly onPlanned?: ((engineBytes: number) => void) | undefined;
}

/** Makes a model of a version directory. Supplied by whoever owns an engine; the manager knows no model kind. */
export interface Loader {
  /**
   * Loads and, where the model carries warm-up requests, warms up: the model that comes back is ready for traffic.
   * Does its work off the request path.
   *
   * @throws ServingError; the signal's reason when loading is no longer wanted
   */
  load(id: ServableId, path: string, options: LoadOptions): Promise<Model>;
}
