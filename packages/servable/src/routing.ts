import { ServingError } from "@shardserve/core";
import type { LoadedVersion } from "./handle.js";
import { type ServableRequest, ServingMap } from "./serving-map.js";
import type { TrafficPolicy } from "./traffic.js";

type Labels = ReadonlyMap<string, number>;

/** Which version a request goes to: the versions that are ready, their labels, and how traffic is split over them. */
export class Routing {
  #ready: readonly LoadedVersion[] = [];
  #labels: ReadonlyMap<string, Labels> = new Map();
  #traffic: ReadonlyMap<string, TrafficPolicy> = new Map();
  #map = new ServingMap([], new Map(), new Map());

  /** What was said of each model's traffic last. */
  get traffic(): ReadonlyMap<string, TrafficPolicy> {
    return this.#traffic;
  }

  /** @throws ServingError NOT_FOUND, INVALID_ARGUMENT (unknown label) */
  find(request: ServableRequest, draw: () => number): LoadedVersion {
    return this.#map.find(request, draw);
  }

  isReady(name: string, version: number): boolean {
    return this.#map.has(name, version);
  }

  serve(ready: readonly LoadedVersion[]): void {
    this.#ready = ready;
    this.#swapMap();
  }

  replaceTraffic(policies: ReadonlyMap<string, TrafficPolicy>): void {
    this.#traffic = new Map(policies);
    this.#swapMap();
  }

  /** @throws ServingError FAILED_PRECONDITION; nothing is changed then */
  setLabels(name: string, labels: Labels, isUnavailableAllowed: boolean): void {
    this.#checkLabels(name, labels, isUnavailableAllowed);
    this.#labels = new Map(this.#labels).set(name, new Map(labels));
    this.#swapMap();
  }

  /** @throws ServingError FAILED_PRECONDITION; nothing is changed then */
  replaceLabels(labels: ReadonlyMap<string, Labels>, isUnavailableAllowed: boolean): void {
    for (const [name, versions] of labels) this.#checkLabels(name, versions, isUnavailableAllowed);
    this.#labels = new Map([...labels].map(([name, versions]) => [name, new Map(versions)]));
    this.#swapMap();
  }

  #checkLabels(name: string, labels: Labels, isUnavailableAllowed: boolean): void {
    for (const [label, version] of labels) {
      const known = this.#labels.get(name)?.get(label);
      if (known === version || (isUnavailableAllowed && known === undefined) || this.isReady(name, version)) continue;
      throw new ServingError(
        "FAILED_PRECONDITION",
        `Request to assign label to version ${version} of model ${name}, which is not currently available for inference`,
      );
    }
  }

  #swapMap(): void {
    this.#map = new ServingMap(this.#ready, this.#labels, this.#traffic);
  }
}
