import { ServingError, sleep, systemClock } from "@shardserve/core";
import type { EpochRecord, Registry } from "@shardserve/registry";
import { defineCommand } from "../command.js";
import { flag } from "../flags.js";
import { foldUpTo, mendFold } from "../roles/updates/fold-chain.js";
import { EPOCH_FLAGS, openPlaces } from "../roles/updates/open-places.js";
import { mapInForce } from "../roles/operator/map-in-force.js";
import { onlyArgument, withRegistry } from "../roles/operator/operator.js";
import { OPERATOR_FLAGS } from "../roles/operator/outcome.js";

const POLL_MS = 100;

export const fold = defineCommand({
  name: "fold",
  summary:
    "Writes the old deltas of a version as one, so that exports of deltas can go on; mends a fold that is damaged",
  usage: "MODEL --etcd=HOSTS --model_repository=BASE",
  examples: [
    "shardserve fold dlrm --etcd=e1:2379 --cluster=prod --model_repository=/models",
    "shardserve fold dlrm --etcd=e1:2379 --model_repository=/models --keep-epochs=24 --version=3 --json",
    "shardserve fold dlrm --etcd=e1:2379 --model_repository=s3://bucket/models --staging-dir=/mnt/disk --wait-seconds=120",
  ],
  flags: {
    ...OPERATOR_FLAGS,
    ...EPOCH_FLAGS,
    version: flag.int("version meant; -1 = the newest in force", -1, Number.MAX_SAFE_INTEGER, -1),
    keepEpochs: flag.int("newest epochs that stay as they are and can be gone back to", 1, 999, 100),
    waitSeconds: flag.number("how long to wait until the fold is read in their place; 0 = not at all", 0, 3600, 60),
  },
  async run(positionals, flags, terminal) {
    const model = onlyArgument("fold", positionals, "model");
    const { signal, logger } = terminal;
    await withRegistry("fold", flags, terminal, async (registry, outcome) => {
      await using places = await openPlaces(flags, "fold", registry, terminal);
      const { version, chain } = await chainInForce(registry, model, flags.version, signal);
      const name = `${model}/${version}`;
      const place = await places.open(model, version, signal);
      const [first] = chain;
      const before = first?.fold === undefined ? undefined : first;
      const facts = { model, version, foldedEpoch: before?.epoch ?? 0, isMended: false, isInForce: true };
      if (before) {
        const damage = await mendFold(place, before, signal);
        facts.isMended = damage !== undefined;
        if (damage)
          outcome.note(`${name}: the fold of epoch ${before.epoch} was damaged and is written anew: ${damage.message}`);
        await place.forgetFolded(before.epoch, signal);
      }
      const onDamage = (error: ServingError) => logger.error({ error: error.message }, "a damaged fold is removed");
      const waiting = await place.waitingFolds(before?.epoch ?? 0, onDamage, signal);
      const last = chain[chain.length - 1 - flags.keepEpochs];
      if (!last || last === first) {
        const what = before ? `a fold and ${chain.length - 1} deltas` : `${chain.length} deltas`;
        return outcome.done(
          `${name} has ${what}, of which the newest ${flags.keepEpochs} are kept; there is nothing to fold`,
          { ...facts, foldedDeltas: 0 },
        );
      }
      const written = waiting.includes(last.epoch) ? undefined : await foldUpTo(place, last, signal);
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
        `${model}/${version}: the fold of epoch ${last.epoch} is written and not read yet; a leader takes it up by itself`,
      );
    await sleep(systemClock, POLL_MS, signal);
  }
}
