import {
  aspiredKey,
  aspiredRecord,
  executorKey,
  type EpochPlan,
  executorRecord,
  levelKey,
  levelWish,
  type MapRecord,
  shardWish,
  wishKey,
  holdingKey,
  type HoldingRecord,
  holdingRecord,
  mapsToHold,
  MemoryStore,
  rollbackKey,
  rollbackRecord,
  type ServedVersion,
  shardKey,
  type ShardRecord,
  shardRecord,
  type VersionPolicy,
} from "@shardserve/registry";
import { ManualClock } from "@shardserve/core";
import {
  type ControllerSettings,
  type ClusterState,
  type DeltaContents,
  controllerSettings,
  nextStep,
  readClusterState,
  RefusalWatch,
  RetireWatch,
  ShardWatch,
  type VersionContents,
} from "@shardserve/controller";
import { type PartitionMap, partitionsOf } from "@shardserve/placement";

/** A cluster without processes or time: shards load when told, the leader steps when told. Commands as a script gives them. */
export class SimCluster {
  readonly #store = new MemoryStore({ clock: new ManualClock() });
  readonly #disk = new Map<string, Map<number, VersionContents>>();
  readonly #bad = new Map<string, Bad>();
  readonly #held = new Map<string, HeldBefore>();
  readonly #serving = new Map<string, ServedVersion[]>();
  #watch = new ShardWatch(0);
  #retiring = new RetireWatch();
  #refusals = new RefusalWatch(controllerSettings().replaceAfterMs);
  #settings: ControllerSettings = controllerSettings();
  #nowMs = 0;
  /** How far wall clocks are ahead of {@link #nowMs}. */
  #wallAheadMs = 0;

  /** By name; each says what it did, a line each, where there is something to say. */
  readonly #commands: Readonly<Record<string, (args: readonly string[], options: Options) => string[] | void>> = {
    set: (_, options) => this.#set(options),
    disk: ([model = "", version], options) => this.#write(model, Number(version), options),
    undisk: ([model = "", version]) => void this.#disk.get(model)?.delete(Number(version)),
    delta: ([model = "", version, epoch], options) => this.#delta(model, Number(version), Number(epoch), options),
    undelta: ([model = "", version, epoch]) => void this.#deltas(model, Number(version)).delete(Number(epoch)),
    fold: ([model = "", version, epoch], options) => this.#fold(model, Number(version), Number(epoch), options),
    reject: ([model = "", version, ...epochs]) => {
      this.#put(rollbackKey(model, Number(version)), rollbackRecord.encode({ rejected: epochs.map(Number) }));
    },
    join: (ids, options) => ids.forEach((id) => this.#join(id, options)),
    leave: (ids) => ids.forEach((id) => this.#leave(id)),
    drain: (ids) => ids.forEach((id) => this.#put(wishKey(id), shardWish.encode({ isDraining: true }))),
    undrain: (ids) => ids.forEach((id) => this.#delete(wishKey(id))),
    level: ([model = ""]) => this.#put(levelKey(model), levelWish.encode({ wishedAtMs: this.#nowMs })),
    elect: () => this.#elect(),
    held: ([shard, model, version, generation], { epoch = "0", oldest = "0" }) => {
      const before = { generation: Number(generation), epoch: Number(epoch), oldest: Number(oldest) };
      this.#held.set(`${shard} ${model} ${version}`, before);
    },
    wipe: () => {
      for (const { key } of this.#store.list("").entries) if (/^(models|maps)\//.test(key)) this.#delete(key);
    },
    load: (ids) => (ids.length > 0 ? ids : [...this.state().shards.keys()].sort()).flatMap((id) => this.#load(id)),
    bad: ([shard, model, version, partition, kind = "error"]) => {
      this.#bad.set(`${shard} ${model} ${version}`, { partition: Number(partition), kind });
    },
    good: ([shard, model, version]) => void this.#bad.delete(`${shard} ${model} ${version}`),
    executor: ([id = "", ...served], options) => this.#executor(id, served, options),
    aspire: ([model = "", ...policy], options) => this.#aspire(model, policy, options),
    tick: ([ms]) => void (this.#nowMs += Number(ms)),
    jump: ([ms]) => void (this.#wallAheadMs += Number(ms)),
    step: ([stepsMax = "50"]) => this.#step(Number(stepsMax)),
    show: () => this.#show(),
  };

  /** @returns what the command says, a line each */
  run(line: string): string[] {
    const [name = "", ...words] = line.split(/\s+/);
    const args = words.filter((word) => !word.includes("="));
    const options = words.filter((word) => word.includes("=")).map((word) => word.split("=") as [string, string]);
    const command = this.#commands[name];
    if (!command) throw new Error(`unknown command ${name}`);
    return command(args, Object.fromEntries(options)) ?? [];
  }

  /** The registry as it stands. */
  state(): ClusterState {
    return readClusterState(this.#store.list("").entries);
  }

  #put(key: string, value: Uint8Array): void {
    this.#store.txn([], [{ put: key, value }]);
  }

  #delete(key: string): void {
    this.#store.txn([], [{ delete: key }]);
  }

  #set(options: Options): void {
    const numbers = Object.entries(options).map(([key, value]) => [key, Number(value)] as const);
    this.#settings = controllerSettings(Object.fromEntries(numbers));
    this.#refusals = new RefusalWatch(this.#settings.replaceAfterMs);
  }

  /** The next leader begins: what this one remembered is lost. */
  #elect(): void {
    this.#watch = new ShardWatch(this.#nowMs);
    this.#refusals = new RefusalWatch(this.#settings.replaceAfterMs);
    this.#retiring = new RetireWatch();
  }

  #write(model: string, version: number, { partitions = "7", bytes = "100", digest = "d" }: Options): void {
    const partitionCount = Number(partitions);
    const contents: VersionContents = {
      manifestDigest: `${digest}-${model}-${version}`,
      partitionCount,
      digests: Array.from({ length: partitionCount }, (_, p) => `${digest}-${model}-${version}-${p}`),
      partitionBytes: Number(bytes),
    };
    const versions = this.#disk.get(model) ?? new Map<number, VersionContents>();
    this.#disk.set(model, versions.set(version, contents));
  }

  #deltas(model: string, version: number): Map<number, DeltaContents> {
    const contents = this.#disk.get(model)?.get(version) as VersionContents;
    return contents.deltas as Map<number, DeltaContents>;
  }

  #delta(
    model: string,
    version: number,
    epoch: number,
    { parent = String(epoch - 1), digest = "e", base }: Options,
  ): void {
    const versions = this.#disk.get(model) as Map<number, VersionContents>;
    const contents = versions.get(version) as VersionContents;
    const deltas = new Map(contents.deltas);
    versions.set(version, { ...contents, deltas });
    const parentEpoch = Number(parent);
    const before = parentEpoch === 0 ? contents.manifestDigest : deltas.get(parentEpoch)?.digest;
    deltas.set(epoch, {
      epoch,
      digest: `${digest}${epoch}`,
      baseDigest: base ?? contents.manifestDigest,
      parent: { epoch: parentEpoch, digest: before ?? `e${parentEpoch}` },
      createdAtMs: this.#nowMs,
    });
  }

  #fold(model: string, version: number, epoch: number, { of = `e${epoch}` }: Options): void {
    const versions = this.#disk.get(model) as Map<number, VersionContents>;
    const contents = versions.get(version) as VersionContents;
    const fold = { epoch, digest: of, baseDigest: contents.manifestDigest, fold: `f${epoch}` };
    versions.set(version, { ...contents, folds: new Map(contents.folds).set(epoch, fold) });
  }

  #join(id: string, { zone = "", weight = "1", capacity, draining }: Options): void {
    const record: ShardRecord = {
      id,
      instance: `${id}-1`,
      machine: "m",
      addresses: { tcp: `${id}:1` },
      zone,
      weight: Number(weight),
      ...(capacity !== undefined && { capacityBytes: Number(capacity) }),
      isDraining: draining === "yes",
    };
    this.#put(shardKey(id), shardRecord.encode(record));
  }

  #leave(id: string): void {
    const keys = this.#store.list("").entries.map((entry) => entry.key);
    for (const key of keys) if (key === shardKey(id) || key.startsWith(`holdings/${id}/`)) this.#delete(key);
  }

  /** The shard maps what it should and proves it, bad files excepted. */
  #load(id: string): string[] {
    const lines: string[] = [];
    for (const [model, { versions }] of sortedByKey(this.state().models)) {
      for (const [version, { map }] of sortedByKey(versions)) {
        const wanted = [...new Set(mapsToHold(map?.value).flatMap((found) => partitionsOf(found, id)))];
        const contents = this.#disk.get(model)?.get(version);
        const key = holdingKey(id, model, version);
        if (!contents || wanted.length === 0) {
          this.#delete(key);
          continue;
        }
        const name = `${id} ${model} ${version}`;
        const surroundings = {
          directory: `${model}/${version}`,
          map: map?.value ?? {},
          contents,
          held: this.#held.get(name),
          bad: this.#bad.get(name),
        };
        const holding = holdingOf(
          id,
          wanted.sort((x, y) => x - y),
          surroundings,
        );
        this.#put(key, holdingRecord.encode(holding));
        const isOpen = holding.manifestDigest !== "";
        lines.push(
          isOpen
            ? `${id} holds ${holding.partitions.length} of ${model} ${version}`
            : `${id} opens nothing of ${model} ${version}`,
        );
      }
    }
    return lines;
  }

  #executor(id: string, [model = "", version = "0", state = "available"]: string[], { epoch }: Options): void {
    const serving = (this.#serving.get(id) ?? []).filter(
      (one) => one.model !== model || one.version !== Number(version),
    );
    if (state !== "gone")
      serving.push({
        model,
        version: Number(version),
        state: state as ServedVersion["state"],
        ...(epoch !== undefined && { epoch: Number(epoch) }),
      });
    this.#serving.set(id, serving);
    const record = { id, instance: id, addresses: {}, zone: "", serving };
    this.#put(executorKey(id), executorRecord.encode(record));
  }

  #aspire(model: string, [kind, ...numbers]: string[], { replication }: Options): void {
    const policy: VersionPolicy =
      kind === "latest"
        ? { kind, count: Number(numbers[0]) }
        : kind === "all"
          ? { kind }
          : { kind: "specific", versions: numbers.map(Number) };
    const record = { policy, ...(replication !== undefined && { replication: Number(replication) }) };
    this.#put(aspiredKey(model), aspiredRecord.encode(record));
  }

  #step(stepsMax: number): string[] {
    const lines: string[] = [];
    for (let steps = 0; steps < stepsMax; steps++) {
      const { step, waiting } = nextStep(this.#observe());
      if (!step) return [...lines, ...waiting.map(({ model, version, why }) => `waits: ${model} ${version}: ${why}`)];
      this.#store.txn(step.compares, step.operations as { put: string; value: Uint8Array }[]);
      lines.push(`${step.kind} ${step.model} ${step.version}: ${step.why}`);
    }
    return lines;
  }

  #observe() {
    const state = this.state();
    return {
      state,
      repository: this.#disk,
      ...this.#watch.observe(state, this.#nowMs),
      avoided: this.#refusals.observe(state, this.#nowMs),
      retiringForMs: this.#retiring.observe(state, this.#nowMs),
      nowMs: this.#nowMs + this.#wallAheadMs,
      settings: this.#settings,
    };
  }

  #show(): string[] {
    const lines: string[] = [];
    for (const [model, { versions }] of sortedByKey(this.state().models)) {
      for (const [version, { record, map }] of sortedByKey(versions)) {
        if (!record && !map) continue;
        const { enabled, staged, target } = map?.value ?? {};
        const parts = [
          `${model} ${version} ${record?.value.state ?? "-"}`,
          ...(enabled ? [`enabled ${describe(enabled)}`] : []),
          ...(staged ? [`staged ${describe(staged)}`] : []),
          ...(target ? [`target ${describe(target)}`] : []),
          ...(map?.value.epochs ? [describeEpochs(map.value.epochs, enabled)] : []),
          ...(record?.value.error ? [`error ${record.value.error.code} on ${record.value.error.shard}`] : []),
        ];
        lines.push(parts.join("; "));
      }
    }
    return lines.length > 0 ? lines : ["nothing"];
  }
}

/** `name=value` behind a command's arguments. */
type Options = Readonly<Record<string, string | undefined>>;

/** What is wrong with a version's files on a shard. */
interface Bad {
  readonly partition: number;
  readonly kind: string;
}

interface Surroundings {
  /** NAME/VERSION in the repository. */
  readonly directory: string;
  readonly map: MapRecord;
  readonly contents: VersionContents;
  readonly held: HeldBefore | undefined;
  readonly bad: Bad | undefined;
}

/** What a shard proves of the partitions that it should hold. */
function holdingOf(
  id: string,
  wanted: readonly number[],
  { directory, map, contents, held, bad }: Surroundings,
): HoldingRecord {
  const instance = `${id}-1`;
  if (bad?.kind === "unopened") {
    const error = { code: "NOT_FOUND", message: `${directory} has no manifest` };
    return { instance, manifestDigest: "", epoch: 0, partitions: [], digests: [], error };
  }
  const before = new Set(map.enabled && partitionsOf(map.enabled, id));
  const partitions = wanted.filter((partition, i) => {
    if (bad?.kind.startsWith("slow")) return i < bad.partition; // it has so many by now, and failed at something
    return bad?.kind === "full" ? before.has(partition) : bad?.kind !== "error" || partition !== bad.partition;
  });
  const isOther = (partition: number) => bad?.kind === "digest" && bad.partition === partition;
  const failure = bad && (bad.kind !== "full" || partitions.length < wanted.length) && failureOf(bad);
  return {
    instance,
    manifestDigest: contents.manifestDigest,
    ...(held?.epoch ? heldEpochs(held, contents) : epochsOf(map.epochs, bad)),
    partitions,
    digests: partitions.map((partition) => (isOther(partition) ? "other" : (contents.digests[partition] ?? ""))),
    ...(held && { heldGeneration: held.generation }),
    ...failure,
  };
}

/** What a shard reports of it. */
function failureOf({ kind, partition }: Bad): Pick<HoldingRecord, "error" | "isDeltaError"> {
  switch (kind) {
    case "slow":
      return { error: { code: "UNAVAILABLE", message: "a partition cannot be copied" } };
    case "slow-delta":
      return { error: { code: "RESOURCE_EXHAUSTED", message: "the delta does not fit" }, isDeltaError: true };
    case "delta":
      return {
        error: { code: "CHECKSUM_MISMATCH", message: `deltas/${partition}/rows.delta: block 0 is damaged` },
        isDeltaError: true,
      };
    case "full":
      return { error: { code: "DISK_FULL", message: "ENOSPC" } };
    case "error":
      return { error: { code: "CHECKSUM_MISMATCH", message: `partition ${partition}: block 3 is damaged` } };
    default:
      return {}; // it does not know
  }
}

/** What a shard goes on with from before the registry lost its history. */
interface HeldBefore {
  readonly generation: number;
  /** The newest that it answers, and the oldest: what lies before is merged. */
  readonly epoch: number;
  readonly oldest: number;
}

function heldEpochs(
  { epoch, oldest }: HeldBefore,
  { deltas }: VersionContents,
): Partial<HoldingRecord> & { epoch: number } {
  return { epoch, epochDigest: deltas?.get(epoch)?.digest ?? "lost", oldestEpoch: oldest };
}

/** What a shard holds of the deltas that it is to hold; a damaged one and all behind it are missing. */
function epochsOf(
  plan: EpochPlan | undefined,
  bad: Bad | undefined,
): Pick<HoldingRecord, "epoch" | "epochDigest" | "oldestEpoch"> {
  const whole = plan?.chain.filter(({ epoch }) => isTaken(epoch, bad));
  const newest = whole?.at(-1);
  return newest && plan ? { epoch: newest.epoch, epochDigest: newest.digest, oldestEpoch: plan.oldest } : { epoch: 0 };
}

function isTaken(epoch: number, bad: Bad | undefined): boolean {
  if (bad?.kind === "slow-delta") return false;
  return bad?.kind !== "delta" || epoch < bad.partition;
}

function describeEpochs({ chain, oldest }: EpochPlan, enabled: PartitionMap | undefined): string {
  const epochs = chain.map(({ epoch }) => epoch);
  const isFolded = chain[0]?.fold !== undefined;
  const list = (isFolded ? epochs : [0, ...epochs]).map((epoch, i) => {
    const text = isFolded && i === 0 ? `..${epoch}` : epoch;
    return epoch === enabled?.epoch ? `[${text}]` : text;
  });
  return `epochs ${list.join(" ")} from ${oldest}`;
}

function describe(map: PartitionMap): string {
  return `g${map.generation} ${map.shards.map((id) => `${id}:${partitionsOf(map, id).length}`).join(" ")}`;
}

function sortedByKey<K extends string | number, V>(map: ReadonlyMap<K, V>): [K, V][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}
