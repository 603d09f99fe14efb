import {
  aspiredKey,
  aspiredRecord,
  executorKey,
  type EpochPlan,
  executorRecord,
  levelKey,
  levelWish,
  shardWish,
  wishKey,
  holdingKey,
  type HoldingRecord,
  holdingRecord,
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
  readonly #bad = new Map<string, { readonly partition: number; readonly kind: string }>();
  readonly #held = new Map<string, HeldBefore>();
  readonly #serving = new Map<string, ServedVersion[]>();
  #watch = new ShardWatch(0);
  #retiring = new RetireWatch();
  #refusals = new RefusalWatch(controllerSettings().replaceAfterMs);
  #settings: ControllerSettings = controllerSettings();
  #nowMs = 0;
  /** How far wall clocks are ahead of {@link #nowMs}. */
  #wallAheadMs = 0;

  /** @returns what the command says, a line each */
  run(line: string): string[] {
    const [command, ...rest] = line.split(/\s+/);
    const args = rest.filter((word) => !word.includes("="));
    const options = Object.fromEntries(
      rest.filter((word) => word.includes("=")).map((word) => word.split("=") as [string, string]),
    );
    switch (command) {
      case "set":
        this.#settings = controllerSettings(
          Object.fromEntries(Object.entries(options).map(([key, value]) => [key, Number(value)])),
        );
        this.#refusals = new RefusalWatch(this.#settings.replaceAfterMs);
        return [];
      case "disk":
        return this.#write(args[0] ?? "", Number(args[1]), options);
      case "undisk":
        this.#disk.get(args[0] ?? "")?.delete(Number(args[1]));
        return [];
      case "delta":
        return this.#delta(args[0] ?? "", Number(args[1]), Number(args[2]), options);
      case "undelta":
        this.#deltas(args[0] ?? "", Number(args[1])).delete(Number(args[2]));
        return [];
      case "fold":
        return this.#fold(args[0] ?? "", Number(args[1]), Number(args[2]), options);
      case "reject":
        this.#store.txn(
          [],
          [
            {
              put: rollbackKey(args[0] ?? "", Number(args[1])),
              value: rollbackRecord.encode({ rejected: args.slice(2).map(Number) }),
            },
          ],
        );
        return [];
      case "join":
        for (const id of args) this.#join(id, options);
        return [];
      case "leave":
        for (const id of args) this.#leave(id);
        return [];
      case "drain":
      case "undrain":
        for (const id of args) this.#drain(id, command === "drain");
        return [];
      case "level":
        this.#store.txn([], [{ put: levelKey(args[0] ?? ""), value: levelWish.encode({ wishedAtMs: this.#nowMs }) }]);
        return [];
      case "elect":
        this.#watch = new ShardWatch(this.#nowMs); // this and the next ones: all that a leader remembers
        this.#refusals = new RefusalWatch(this.#settings.replaceAfterMs);
        this.#retiring = new RetireWatch();
        return [];
      case "held":
        this.#held.set(`${args[0]} ${args[1]} ${args[2]}`, {
          generation: Number(args[3]),
          epoch: Number(options["epoch"] ?? 0),
          oldest: Number(options["oldest"] ?? 0),
        });
        return [];
      case "wipe":
        for (const { key } of this.#store.list("").entries) {
          if (/^(models|maps)\//.test(key)) this.#store.txn([], [{ delete: key }]);
        }
        return [];
      case "load":
        return (args.length > 0 ? args : [...this.state().shards.keys()].sort()).flatMap((id) => this.#load(id));
      case "bad":
        this.#bad.set(`${args[0]} ${args[1]} ${args[2]}`, { partition: Number(args[3]), kind: args[4] ?? "error" });
        return [];
      case "good":
        this.#bad.delete(`${args[0]} ${args[1]} ${args[2]}`);
        return [];
      case "executor":
        return this.#executor(args[0] ?? "", args.slice(1), options);
      case "aspire":
        return this.#aspire(args[0] ?? "", args.slice(1), options);
      case "tick":
        this.#nowMs += Number(args[0]);
        return [];
      case "jump":
        this.#wallAheadMs += Number(args[0]);
        return [];
      case "step":
        return this.#step(Number(args[0] ?? 50));
      case "show":
        return this.#show();
      default:
        throw new Error(`unknown command ${command}`);
    }
  }

  /** The registry as it stands. */
  state(): ClusterState {
    return readClusterState(this.#store.list("").entries);
  }

  #write(
    model: string,
    version: number,
    { partitions = "7", bytes = "100", digest = "d" }: Record<string, string>,
  ): string[] {
    const partitionCount = Number(partitions);
    const contents: VersionContents = {
      manifestDigest: `${digest}-${model}-${version}`,
      partitionCount,
      digests: Array.from({ length: partitionCount }, (_, p) => `${digest}-${model}-${version}-${p}`),
      partitionBytes: Number(bytes),
    };
    const versions = this.#disk.get(model) ?? new Map<number, VersionContents>();
    this.#disk.set(model, versions.set(version, contents));
    return [];
  }

  #deltas(model: string, version: number): Map<number, DeltaContents> {
    const contents = this.#disk.get(model)?.get(version) as VersionContents;
    return contents.deltas as Map<number, DeltaContents>;
  }

  #delta(
    model: string,
    version: number,
    epoch: number,
    { parent = String(epoch - 1), digest = "e", base }: Record<string, string | undefined>,
  ): string[] {
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
    return [];
  }

  #fold(
    model: string,
    version: number,
    epoch: number,
    { of = `e${epoch}` }: Record<string, string | undefined>,
  ): string[] {
    const versions = this.#disk.get(model) as Map<number, VersionContents>;
    const contents = versions.get(version) as VersionContents;
    const fold = { epoch, digest: of, baseDigest: contents.manifestDigest, fold: `f${epoch}` };
    versions.set(version, { ...contents, folds: new Map(contents.folds).set(epoch, fold) });
    return [];
  }

  #join(id: string, { zone = "", weight = "1", capacity, draining }: Record<string, string | undefined>): void {
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
    this.#store.txn([], [{ put: shardKey(id), value: shardRecord.encode(record) }]);
  }

  #drain(id: string, isDraining: boolean): void {
    const wish = { put: wishKey(id), value: shardWish.encode({ isDraining }) };
    this.#store.txn([], [isDraining ? wish : { delete: wishKey(id) }]);
  }

  #leave(id: string): void {
    const keys = this.#store.list("").entries.map((entry) => entry.key);
    const gone = keys.filter((key) => key === shardKey(id) || key.startsWith(`holdings/${id}/`));
    this.#store.txn(
      [],
      gone.map((key) => ({ delete: key })),
    );
  }

  /** The shard maps what it should and proves it, bad files excepted. */
  #load(id: string): string[] {
    const lines: string[] = [];
    const state = this.state();
    for (const [model, { versions }] of sortedByKey(state.models)) {
      for (const [version, { map }] of sortedByKey(versions)) {
        const maps = [map?.value.enabled, map?.value.staged].filter((found) => found !== undefined);
        const wanted = [...new Set(maps.flatMap((found) => partitionsOf(found, id)))].sort((a, b) => a - b);
        const contents = this.#disk.get(model)?.get(version);
        if (!contents || wanted.length === 0) {
          this.#store.txn([], [{ delete: holdingKey(id, model, version) }]);
          continue;
        }
        const bad = this.#bad.get(`${id} ${model} ${version}`);
        const before = new Set(map?.value.enabled && partitionsOf(map.value.enabled, id));
        const partitions = wanted.filter((partition, i) => {
          if (bad?.kind.startsWith("slow")) return i < bad.partition; // it has so many by now, and failed at something
          return bad?.kind === "full" ? before.has(partition) : bad?.kind !== "error" || partition !== bad.partition;
        });
        const held = this.#held.get(`${id} ${model} ${version}`);
        const deltas = held?.epoch ? heldEpochs(held, contents) : epochsOf(map?.value.epochs, bad);
        if (bad?.kind === "unopened") {
          const error = { code: "NOT_FOUND", message: `${model}/${version} has no manifest` } as const;
          const nothing = { instance: `${id}-1`, manifestDigest: "", epoch: 0, partitions: [], digests: [], error };
          this.#store.txn([], [{ put: holdingKey(id, model, version), value: holdingRecord.encode(nothing) }]);
          lines.push(`${id} opens nothing of ${model} ${version}`);
          continue;
        }
        const record = {
          instance: `${id}-1`,
          manifestDigest: contents.manifestDigest,
          ...deltas,
          partitions,
          digests: partitions.map((p) =>
            bad?.kind === "digest" && bad.partition === p ? "other" : (contents.digests[p] ?? ""),
          ),
          ...(held && { heldGeneration: held.generation }),
          ...(bad?.kind === "slow" && { error: { code: "UNAVAILABLE", message: "a partition cannot be copied" } }),
          ...(bad?.kind === "slow-delta" && {
            error: { code: "RESOURCE_EXHAUSTED", message: "the delta does not fit" },
            isDeltaError: true,
          }),
          ...(bad?.kind === "delta" && {
            isDeltaError: true,
            error: { code: "CHECKSUM_MISMATCH", message: `deltas/${bad.partition}/rows.delta: block 0 is damaged` },
          }),
          ...(bad?.kind === "full" &&
            partitions.length < wanted.length && { error: { code: "DISK_FULL", message: "ENOSPC" } }),
          ...(bad?.kind === "error" && {
            error: { code: "CHECKSUM_MISMATCH", message: `partition ${bad.partition}: block 3 is damaged` },
          }),
        };
        this.#store.txn([], [{ put: holdingKey(id, model, version), value: holdingRecord.encode(record) }]);
        lines.push(`${id} holds ${partitions.length} of ${model} ${version}`);
      }
    }
    return lines;
  }

  #executor(
    id: string,
    [model = "", version = "0", state = "available"]: string[],
    { epoch }: Record<string, string | undefined>,
  ): string[] {
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
    this.#store.txn([], [{ put: executorKey(id), value: executorRecord.encode(record) }]);
    return [];
  }

  #aspire(model: string, [kind, ...numbers]: string[], { replication }: Record<string, string | undefined>): string[] {
    const policy: VersionPolicy =
      kind === "latest"
        ? { kind, count: Number(numbers[0]) }
        : kind === "all"
          ? { kind }
          : { kind: "specific", versions: numbers.map(Number) };
    const record = { policy, ...(replication !== undefined && { replication: Number(replication) }) };
    this.#store.txn([], [{ put: aspiredKey(model), value: aspiredRecord.encode(record) }]);
    return [];
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
  bad: { readonly partition: number; readonly kind: string } | undefined,
): Pick<HoldingRecord, "epoch" | "epochDigest" | "oldestEpoch"> {
  const whole = plan?.chain.filter(({ epoch }) => isTaken(epoch, bad));
  const newest = whole?.at(-1);
  return newest && plan ? { epoch: newest.epoch, epochDigest: newest.digest, oldestEpoch: plan.oldest } : { epoch: 0 };
}

function isTaken(epoch: number, bad: { readonly partition: number; readonly kind: string } | undefined): boolean {
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
