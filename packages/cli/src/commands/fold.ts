import { resolve } from "node:path";
import { ServingError, sleep, systemClock } from "@shardserve/core";
import { forgetFolded } from "@shardserve/exporter";
import type { EpochRecord, Registry } from "@shardserve/registry";
import { readManifest } from "@shardserve/rowstore";
import { defineCommand } from "../command.js";
import { flag } from "../flags.js";
import { type ExportedVersion, foldUpTo, mendFold, waitingFolds } from "../roles/updates/fold-chain.js";
import { mapInForce } from "../roles/operator/map-in-force.js";
import { onlyArgument, withRegistry } from "../roles/operator/operator.js";
import { OPERATOR_FLAGS } from "../roles/operator/outcome.js";
import { localPath } from "../roles/versions/model-directory.js";
import { versionDirectory } from "../roles/versions/version-directory.js";

const POLL_MS = 100;

export const fold = defineCommand({
  name: "fold",
  summary:
    "Writes the old deltas of a version as one, so that exports of deltas can go on; mends a fold that is damaged",
  usage: "MODEL --etcd=HOSTS --model_repository=BASE",
  examples: [
    "shardserve fold dlrm --etcd=e1:2379 --cluster=prod --model_repository=/models",
    "shardserve fold dlrm --etcd=e1:2379 --model_repository=/models --keep-epochs=24 --version=3 --json",
  ],
  flags: {
    ...OPERATOR_FLAGS,
    modelRepository: flag.text("BASE of the version directories BASE/NAME/VERSION; it is written to", "DIR"),
    version: flag.int("version meant; -1 = the newest in force", -1, Number.MAX_SAFE_INTEGER, -1),
    keepEpochs: flag.int("newest epochs that stay as they are and can be gone back to", 1, 999, 100),
    waitSeconds: flag.number("how long to wait until the fold is read in their place; 0 = not at all", 0, 3600, 60),
  },
  async run(positionals, flags, terminal) {
    const model = onlyArgument("fold", positionals, "model");
    const { signal, logger } = terminal;
    const repository = resolve(localPath("--model-repository", flags.modelRepository));
    await withRegistry("fold", flags, terminal, async (registry, outcome) => {
      const { version, chain } = await chainInForce(registry, model, flags.version, signal);
      const name = `${model}/${version}`;
      const versionDir = await versionDirectory(repository, model, version);
      const base = await readManifest(versionDir);
      if (!base) throw new ServingError("NOT_FOUND", `${versionDir} holds no exported version`);
      const on: ExportedVersion = { versionDir, base };
      const [first] = chain;
      const before = first?.fold === undefined ? undefined : first;
      const facts = { model, version, foldedEpoch: before?.epoch ?? 0, isMended: false, isInForce: true };
      if (before) {
        const damage = await mendFold(on, before, signal);
        facts.isMended = damage !== undefined;
        if (damage)
          outcome.note(`${name}: the fold of epoch ${before.epoch} was damaged and is written anew: ${damage.message}`);
        await forgetFolded(versionDir, before.epoch);
      }
      const onDamage = (error: ServingError) => logger.error({ error: error.message }, "a damaged fold is removed");
      const waiting = await waitingFolds(versionDir, before?.epoch ?? 0, onDamage);
      const last = chain[chain.length - 1 - flags.keepEpochs];
      if (!last || last === first) {
        const what = before ? `a fold and ${chain.length - 1} deltas` : `${chain.length} deltas`;
        return outcome.done(
          `${name} has ${what}, of which the newest ${flags.keepEpochs} are kept; there is nothing to fold`,
          { ...facts, foldedDeltas: 0 },
        );
      }
      const written = waiting.includes(last.epoch) ? undefined : await foldUpTo(on, last, signal);
      if (flags.waitSeconds > 0) await whenFolded(registry, model, version, last, flags.waitSeconds, signal);
      const what = written ? `${written.deltas} deltas` : "the deltas";
      outcome.done(`${name}: ${what} up to epoch ${last.epoch} are folded; ${flags.keepEpochs} follow`, {
        ...facts,
        foldedEpoch: last.epoch,
        foldedDeltas: written?.deltas ?? 0,
        isInForce: flags.waitSeconds > 0,
      });
    });
  },
});

async function chainInForce(
  registry: Registry,
  model: string,
  wanted: number,
  signal: AbortSignal,
): Promise<{ readonly version: number; readonly chain: readonly EpochRecord[] }> {
  const { version, record } = await mapInForce(registry, model, wanted, signal);
  const epoch = record.enabled?.epoch ?? 0;
  return { version, chain: (record.epochs?.chain ?? []).filter((ref) => ref.epoch <= epoch) };
}

/** @throws ServingError DEADLINE_EXCEEDED */
async function whenFolded(
  registry: Registry,
  model: string,
  version: number,
  last: EpochRecord,
  waitSeconds: number,
  signal: AbortSignal,
): Promise<void> {
  const endMs = systemClock.nowMs() + waitSeconds * 1000;
  for (;;) {
    const { chain } = await chainInForce(registry, model, version, signal);
    const [first] = chain;
    if (first?.fold !== undefined && first.epoch >= last.epoch) return;
    if (systemClock.nowMs() >= endMs)
      throw new ServingError(
        "DEADLINE_EXCEEDED",
        `${model}/${version}: the fold of epoch ${last.epoch} is on the disk and not read yet; a leader takes it up by itself`,
      );
    await sleep(systemClock, POLL_MS, signal);
  }
}
