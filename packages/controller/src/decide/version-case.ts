import {
  type Compare,
  type MapRecord,
  mapKey,
  mapRecord,
  type Put,
  type VersionRecord,
  versionKey,
  versionRecord,
} from "@shardserve/registry";
import type { ModelState, VersionState } from "../observe/cluster-state.js";
import type { Observed, Step, StepKind, Waiting } from "./step.js";
import type { VersionContents } from "../observe/version-contents.js";

/** What a step writes. */
export interface Change {
  readonly record?: VersionRecord;
  readonly map?: MapRecord;
}

/** One version of a model that the leader decides about: what it sees of it, and how a decision is put down. */
export class VersionCase {
  readonly observed: Observed;
  readonly model: string;
  readonly modelState: ModelState;
  readonly version: number;
  /** What the registry has of it; undefined = nothing yet. */
  readonly state: VersionState | undefined;
  /** What the model repository has of it; undefined = it is not there. */
  readonly contents: VersionContents | undefined;
  readonly #waiting: Waiting[];

  constructor(observed: Observed, model: string, modelState: ModelState, version: number, waiting: Waiting[]) {
    this.observed = observed;
    this.model = model;
    this.modelState = modelState;
    this.version = version;
    this.state = modelState.versions.get(version);
    this.contents = observed.repository.get(model)?.get(version);
    this.#waiting = waiting;
  }

  get map(): MapRecord | undefined {
    return this.state?.map?.value;
  }

  /** The highest generation that a shard goes on with although the registry has forgotten it; 0 = none. */
  get heldGeneration(): number {
    let highest = 0;
    for (const { heldGeneration = 0 } of this.state?.holdings.values() ?? [])
      highest = Math.max(highest, heldGeneration);
    return highest;
  }

  /** A record of what the repository has, in a state that begins now. */
  recordOf(contents: VersionContents, state: VersionRecord["state"]): VersionRecord {
    return {
      state,
      manifestDigest: contents.manifestDigest,
      partitionCount: contents.partitionCount,
      bytes: contents.partitionBytes * contents.partitionCount,
      changedAtMs: this.observed.nowMs,
    };
  }

  step(kind: StepKind, why: string, change: Change): Step {
    const operations: Put[] = [];
    if (change.record) operations.push({ put: this.#versionKey, value: versionRecord.encode(change.record) });
    if (change.map) operations.push({ put: this.#mapKey, value: mapRecord.encode(this.#whole(change)) });
    return { kind, model: this.model, version: this.version, why, compares: this.#unchanged(), operations };
  }

  removal(why: string): Step {
    const operations = [{ delete: this.#versionKey }, { delete: this.#mapKey }];
    return { kind: "remove", model: this.model, version: this.version, why, compares: this.#unchanged(), operations };
  }

  /** Notes what the version waits for; there is no step then. */
  wait(why: string): undefined {
    this.#waiting.push({ model: this.model, version: this.version, why });
  }

  /** With what a map has whatever moves: the epoch in force, and the manifest that shards are to have read. */
  #whole({ map = {}, record = this.state?.record?.value }: Change): MapRecord {
    return { ...withEpoch(map, this.map), ...(record && { manifestDigest: record.manifestDigest }) };
  }

  get #versionKey(): string {
    return versionKey(this.model, this.version);
  }

  get #mapKey(): string {
    return mapKey(this.model, this.version);
  }

  /** A step counts only while the record and the map that it was decided from are in force. */
  #unchanged(): Compare[] {
    return [
      { key: this.#versionKey, modRevision: this.state?.record?.modRevision ?? 0 },
      { key: this.#mapKey, modRevision: this.state?.map?.modRevision ?? 0 },
    ];
  }
}

/** Whatever moves, the epoch in force and its deltas stay; only a step of theirs, which says `epochs`, changes them. */
function withEpoch(map: MapRecord, before: MapRecord | undefined): MapRecord {
  if (map.epochs || !before?.epochs) return map;
  const epoch = (before.enabled ?? before.staged)?.epoch ?? 0;
  return {
    epochs: before.epochs,
    ...(map.enabled && { enabled: { ...map.enabled, epoch } }),
    ...(map.staged && { staged: { ...map.staged, epoch } }),
    ...(map.target && { target: { ...map.target, epoch } }),
  };
}
