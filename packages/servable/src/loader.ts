import type { Model } from "./model.js";
import type { ServableId } from "./servable-id.js";

/** Makes a model of a version directory. Supplied by whoever owns an engine; the manager knows no model kind. */
export interface Loader {
  /**
   * Loads and, where the model carries warm-up requests, warms up: the model that comes back is ready for traffic.
   * Does its work off the request path.
   *
   * @throws ServingError; the signal's reason when loading is no longer wanted
   */
  load(id: ServableId, path: string, options: { readonly signal: AbortSignal }): Promise<Model>;
}
