/** A version on its way in: found, staged, proved, enabled. */
import type { Pieces } from "@shardserve/core";
import type { PartitionMap } from "@shardserve/placement";
import type { MapRecord, VersionRecord } from "@shardserve/registry";
import { recalledEpoch } from "./epoch-chain.js";
import { lost, placed } from "./placing.js";
import { describeProof, proveMap } from "./proof.js";
import type { Step } from "./step.js";
import type { VersionCase } from "./version-case.js";
import type { VersionContents } from "../observe/version-contents.js";

/** A version that the registry does not have yet. */
export function* stage(version: VersionCase): Pieces<Step | undefined> {
  const { contents } = version;
  const map = contents && (yield* placed(version, contents, { generation: version.heldGeneration + 1 }));
  if (!contents || !map) return undefined;
  return version.step("stage", `found in the repository; ${map.shards.length} shards`, {
    record: version.recordOf(contents, "staged"),
    map: recalled(map, version, contents),
  });
}

/** A version that is staged, loaded or failed. */
export function* load(version: VersionCase, record: VersionRecord): Pieces<Step | undefined> {
  const { contents } = version;
  if (!contents) return version.wait("the version is not in the model repository");
  const staged = version.map?.staged;
  if (!staged) return yield* restage(version, contents, "nothing is staged");
  if (record.manifestDigest !== contents.manifestDigest)
    return yield* restage(version, contents, "its manifest changed");
  const why = lost(version, staged);
  if (why !== undefined) return yield* restage(version, contents, why, staged);
  const holdings = version.state?.holdings ?? new Map();
  const { epoch = staged.epoch } = recalledEpoch(holdings, contents) ?? {};
  if (epoch !== staged.epoch)
    return yield* restage(version, contents, `shards hold epoch ${epoch} of a lost history`, staged);
  const proof = proveMap(staged, contents, holdings);
  if (proof.isComplete) return record.state === "loaded" ? enable(version, record, staged) : prove(version, record);
  const [refusal] = proof.refusals;
  if (refusal && record.state !== "failed") {
    const [shard, error] = refusal;
    return version.step("fail", `${shard}: ${error.message}`, {
      record: { ...version.recordOf(contents, "failed"), error: { ...error, shard } },
    });
  }
  return version.wait(describeProof(proof));
}

function prove(version: VersionCase, record: VersionRecord): Step {
  const { error: _, ...rest } = record;
  return version.step("prove", "every replica of every partition is proved", {
    record: { ...rest, state: "loaded", changedAtMs: version.observed.nowMs },
  });
}

function enable(version: VersionCase, record: VersionRecord, staged: PartitionMap): Step {
  return version.step("enable", `generation ${staged.generation}`, {
    record: { ...record, state: "enabled", changedAtMs: version.observed.nowMs },
    map: { enabled: staged },
  });
}

function* restage(
  version: VersionCase,
  contents: VersionContents,
  why: string,
  previous?: PartitionMap,
): Pieces<Step | undefined> {
  const generation = Math.max(version.map?.staged?.generation ?? 0, version.heldGeneration) + 1;
  const map = yield* placed(version, contents, { previous, generation });
  if (!map) return undefined;
  return version.step("restage", why, {
    record: version.recordOf(contents, "staged"),
    map: recalled(map, version, contents),
  });
}

/** A version that is staged: at the epoch that shards go on with, if the registry has forgotten it. */
function recalled(map: PartitionMap, { state }: VersionCase, contents: VersionContents): MapRecord {
  const found = recalledEpoch(state?.holdings ?? new Map(), contents);
  return found ? { staged: { ...map, epoch: found.epoch }, epochs: found.epochs } : { staged: map };
}
