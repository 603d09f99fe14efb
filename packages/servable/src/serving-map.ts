import { ServingError } from "@shardserve/core";
import type { LoadedVersion } from "./handle.js";
import { stickyPoint, type TrafficPolicy, type TrafficShare, versionAt } from "./traffic.js";

/**
 * Which version a request asks for: a number, a label, or neither = what the traffic policy gives it, without one the
 * highest that is ready.
 */
export interface ServableRequest {
  readonly name: string;
  readonly version?: number | bigint;
  readonly label?: string;
  /** Requests with the same key get the same version of a traffic split; absent = each is drawn. */
  readonly stickyKey?: string;
}

interface ServedModel {
  readonly latest: LoadedVersion;
  readonly versions: ReadonlyMap<number, LoadedVersion>;
  /** Of the traffic split, the versions that are ready; empty = no split. */
  readonly shares: readonly TrafficShare[];
}

/**
 * What can be served now. Immutable and replaced as a whole, so that a request reads one consistent state and never
 * waits for a load (TensorFlow Serving's FastReadDynamicPtr).
 */
export class ServingMap {
  readonly #models: ReadonlyMap<string, ServedModel>;
  readonly #labels: ReadonlyMap<string, ReadonlyMap<string, number>>;

  constructor(
    ready: Iterable<LoadedVersion>,
    labels: ReadonlyMap<string, ReadonlyMap<string, number>>,
    traffic: ReadonlyMap<string, TrafficPolicy>,
  ) {
    const versionsOf = new Map<string, Map<number, LoadedVersion>>();
    for (const loaded of ready) {
      const { name, version } = loaded.id;
      const versions = versionsOf.get(name) ?? new Map<number, LoadedVersion>();
      versionsOf.set(name, versions.set(version, loaded));
    }
    const models = new Map<string, ServedModel>();
    for (const [name, versions] of versionsOf) {
      const shares = (traffic.get(name)?.split ?? []).filter(({ version }) => versions.has(version));
      models.set(name, { versions, latest: versions.get(Math.max(...versions.keys()))!, shares });
    }
    this.#models = models;
    this.#labels = labels;
  }

  has(name: string, version: number): boolean {
    return this.#models.get(name)?.versions.has(version) ?? false;
  }

  /**
   * @param draw  a number in [0, 1) for a request without a sticky key
   * @throws ServingError NOT_FOUND or INVALID_ARGUMENT with TensorFlow Serving's texts
   */
  find(request: ServableRequest, draw: () => number): LoadedVersion {
    let { version } = request;
    if (request.label !== undefined) {
      version = this.#labels.get(request.name)?.get(request.label);
      if (version === undefined) {
        throw new ServingError("INVALID_ARGUMENT", `Unrecognized servable version label: ${request.label}`);
      }
    }
    const model = this.#models.get(request.name);
    if (version === undefined && model && model.shares.length > 0) {
      const { name, stickyKey } = request;
      version = versionAt(model.shares, stickyKey === undefined ? draw() : stickyPoint(name, stickyKey));
    }
    const found = version === undefined ? model?.latest : model?.versions.get(Number(version));
    if (!found) {
      const asked = version === undefined ? `Latest(${request.name})` : `Specific(${request.name}, ${version})`;
      throw new ServingError("NOT_FOUND", `Servable not found for request: ${asked}`);
    }
    return found;
  }
}
