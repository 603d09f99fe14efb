import { totalmem } from "node:os";
import { ServerCredentials, type Server as GrpcServer } from "@grpc/grpc-js";
import { type Clock, type Logger, Service, ServingError, silentLogger, systemClock } from "@shardserve/core";
import { addressOf } from "@shardserve/native";
import {
  KnownMaps,
  LeasedKeys,
  MAPS_PREFIX,
  type Registry,
  RegistryView,
  type ShardRecord,
  type StateFile,
  shardKey,
  shardRecord,
} from "@shardserve/registry";
import {
  type Address,
  advertisedAddress,
  BufferPool,
  DEFAULT_LIMITS,
  formatAddress,
  FramedServer,
  listenGrpc,
  OPEN_METHOD,
  parseAddress,
  readOpenRequest,
  type ShardProof,
  type TransportLimits,
} from "@shardserve/transport";
import type { FileSource } from "./files/file-source.js";
import { HeldFiles } from "./files/held-files.js";
import { FileServer, READ_FILE_METHOD } from "./files/peer-files.js";
import { ByteBudget } from "./lookup/byte-budget.js";
import { FrameLookup } from "./lookup/frame-lookup.js";
import { LookupTracer, type SpanSink } from "./lookup/lookup-tracer.js";
import { Keeper } from "./versions/keeper.js";
import { ShardMetrics } from "./metrics.js";
import { RowLookup } from "./lookup/row-lookup.js";
import { createRowServer } from "./lookup/row-service.js";
import { proofOf, ServedVersions, servableName } from "./versions/served-version.js";

/** A shard's identity, addresses, files and limits. */
export interface ShardServerOptions {
  readonly id: string;
  readonly cluster: string;
  /** Random per process start; tells a restarted shard from its predecessor. */
  readonly instance: string;
  /** Identity of this machine; executors with the same one use the Unix socket. */
  readonly machine: string;
  /** TCP address of the framed protocol, "host:port"; port 0 = any. */
  readonly listen: string;
  /** Path of the Unix socket; absent = none. */
  readonly unixPath?: string;
  /** Address of the gRPC RowService, "host:port"; absent = not offered. */
  readonly grpcListen?: string;
  /** Host that others reach this shard by; default the host of `listen`, or where that is any, this machine's first address. */
  readonly advertisedHost?: string;
  readonly registry: Registry;
  /** Where the partition maps are kept for a start without the registry; absent = nowhere, and such a start waits for it. */
  readonly state?: StateFile;
  /** Folder with NAME/VERSION version directories; without meaning where `sourceOf` is given. */
  readonly repository: string;
  /** Opens a version in a repository that is no folder: an object store. Files are copied from it, so `dataDir` is needed too. */
  readonly sourceOf?: (model: string, version: number) => FileSource;
  /** Folder on this machine's own disk for copies of what is held; absent = files are read in the repository. */
  readonly dataDir?: string;
  /** Bytes of partitions that may be mapped over all versions; absent = no limit. */
  readonly capacityBytes?: number;
  /** Mapped bytes that are expected to stay in memory; beyond it gathers leave the event loop. Default 70 % of the memory. */
  readonly residentBytesMax?: number;
  /** Bytes of deltas in memory above which new epochs are refused. Default half of the memory. */
  readonly deltaBytesMax?: number;
  readonly zone?: string;
  /** Share of the load relative to other shards; default 1. */
  readonly weight?: number;
  /** Bytes of replies being gathered or not yet read by their callers; one more is refused. Default 512 MiB. */
  readonly replyBytesInFlightMax?: number;
  /** How long a partition that no map gives us any more is still served, in milliseconds; default 30000. */
  readonly dropAfterMs?: number;
  /** Partition files verified at the same time; default 2. */
  readonly loadsMax?: number;
  /** Bytes a second at which partitions that move here from other shards are read; absent = not limited. */
  readonly moveBytesPerSecond?: number;
  /** First pause after a load that failed, in milliseconds; default 5000. */
  readonly retryMs?: number;
  /** Takes the spans of lookups whose callers trace them; absent = callers are told to send no traces. */
  readonly spans?: SpanSink;
  readonly limits?: Partial<TransportLimits>;
  readonly metrics?: ShardMetrics;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

const NEVER = new Promise<never>(() => undefined);

const DEFAULT_REPLY_BYTES_IN_FLIGHT = 512 * 2 ** 20;

/**
 * A parameter server: holds the partitions that the registry gives it and answers lookups of their rows, over frames and
 * over gRPC.
 *
 * Lookups never wait for the registry: they read what is held. Closing takes the shard's keys away first, so that callers
 * turn to other replicas, then refuses new lookups and finishes those in flight.
 */
export class ShardServer extends Service {
  readonly metrics: ShardMetrics;
  readonly #options: ShardServerOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #versions = new ServedVersions();
  readonly #frames: FramedServer;
  readonly #grpc: GrpcServer;
  readonly #residentBytesMax: number;
  #grpcAddress: Address | undefined;
  #keys: LeasedKeys | undefined;
  #keeper: Keeper | undefined;
  readonly #maps: RegistryView;
  readonly #files: HeldFiles;

  constructor(options: ShardServerOptions) {
    super();
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
    this.metrics = options.metrics ?? new ShardMetrics();
    this.#residentBytesMax = options.residentBytesMax ?? Math.floor(0.7 * memoryBytes());
    const pool = new BufferPool({ addressOf });
    const budget = new ByteBudget(options.replyBytesInFlightMax ?? DEFAULT_REPLY_BYTES_IN_FLIGHT);
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    const clock = this.#clock;
    const lookup = new RowLookup({
      budget,
      pool,
      metrics: this.metrics,
      clock,
      replyBytesMax: limits.replyBytesMax,
    });
    const frames = new FrameLookup({
      versions: this.#versions,
      lookup,
      budget,
      pool,
      metrics: this.metrics,
      clock,
      tracer: options.spans && new LookupTracer(options.spans, options.id),
    });
    const files = new FileServer(this.#versions, options.cluster);
    const listen: Address[] = [parseAddress(options.listen)];
    if (options.unixPath !== undefined) listen.push({ path: options.unixPath });
    this.#frames = new FramedServer({
      peer: `shard ${options.id}`,
      listen,
      limits,
      pool,
      clock,
      logger: this.#logger,
      calls: {
        [OPEN_METHOD]: (params) => this.#open(params),
        [READ_FILE_METHOD]: (params) => files.read(params),
      },
      takesTraces: options.spans !== undefined,
      lookup: frames.handle,
      afterLookups: frames.flush,
    });
    const { registry, state } = options;
    this.#maps = new RegistryView(registry, MAPS_PREFIX, { logger: this.#logger, clock, ...(state && { state }) });
    const { copiedBytes } = this.metrics;
    const onCopied = (from: "peer" | "repository", bytes: number) => copiedBytes.inc({ from }, bytes);
    this.#files = new HeldFiles({ ...options, clock, logger: this.#logger, onCopied });
    this.#grpc = createRowServer({
      versions: this.#versions,
      lookup,
      metrics: this.metrics,
      clock,
      messageBytesMax: limits.replyBytesMax,
      isHealthy: () => this.isHealthy,
    });
  }

  /** Where frames are served, with the ports that were really bound. */
  get addresses(): readonly Address[] {
    return this.#frames.addresses;
  }

  /** "host:port" of the RowService; undefined when it is not offered. */
  get grpcAddress(): string | undefined {
    return this.#grpcAddress && formatAddress(this.#grpcAddress);
  }

  /** True while lookups are answered. */
  get isHealthy(): boolean {
    return this.state === "ready";
  }

  /** True while lookups are answered and every partition that an enabled map gives this shard is held. */
  get isReady(): boolean {
    return this.isHealthy && (this.#keeper?.isComplete ?? false);
  }

  /** Partitions held and verified now, by "model/version". */
  get holdings(): ReadonlyMap<string, readonly number[]> {
    const holdings = new Map<string, readonly number[]>();
    for (const served of this.#versions.all()) {
      holdings.set(
        servableName(served.model, served.version),
        [...served.digests.keys()].sort((a, b) => a - b),
      );
    }
    return holdings;
  }

  /** Asks for this shard's partitions to move away: it goes on serving, but gets nothing new. */
  async announceDraining(): Promise<void> {
    await this.#register(true);
  }

  protected async onStart(signal: AbortSignal): Promise<void> {
    const { grpcListen } = this.#options;
    await this.#files.checkWritable();
    await this.#frames.start({ signal });
    if (grpcListen !== undefined) {
      const credentials = ServerCredentials.createInsecure();
      this.#grpcAddress = await listenGrpc(this.#grpc, parseAddress(grpcListen), credentials);
    }
    this.#keys = new LeasedKeys(this.#options.registry, { clock: this.#clock, logger: this.#logger });
    this.#files.start();
    const { id, instance, capacityBytes, dropAfterMs, loadsMax, retryMs, moveBytesPerSecond } = this.#options;
    this.#keeper = new Keeper({
      shard: id,
      instance,
      filesOf: (model, version, enabled) => this.#files.of(model, version, enabled),
      capacityBytes: capacityBytes ?? Number.POSITIVE_INFINITY,
      residentBytesMax: this.#residentBytesMax,
      deltaBytesMax: this.#options.deltaBytesMax ?? Math.floor(0.5 * memoryBytes()),
      dropAfterMs: dropAfterMs ?? 30_000,
      loadsMax: loadsMax ?? 2,
      moveBytesPerSecond: moveBytesPerSecond ?? Number.POSITIVE_INFINITY,
      retryMs: retryMs ?? 5_000,
      keys: this.#keys,
      versions: this.#versions,
      metrics: this.metrics,
      clock: this.#clock,
      logger: this.#logger,
    });
    this.#followMaps(this.#keeper);
    // With the last known maps a shard serves before the registry is there: executors know where it was.
    // Without them only that the registry refuses us ends the wait for it.
    const known = this.#maps.reach(1, { signal });
    await Promise.race([this.#register(false, signal), this.#options.state ? known : known.then(() => NEVER)]);
  }

  protected async onDrain(drainMs: number): Promise<void> {
    await this.#keys?.close().catch((error: unknown) => {
      this.#logger.warn({ error: ServingError.from(error).message }, "keys stay until their lease ends");
    });
    await Promise.all([this.#frames.close({ drainMs }), this.#drainGrpc(drainMs)]);
  }

  protected async onClose(): Promise<void> {
    await this.#maps.close();
    await this.#keys?.close().catch(() => undefined); // the lease ends by itself
    await this.#frames.close({ drainMs: 0 });
    this.#grpc.forceShutdown();
    await this.#keeper?.close();
    await this.#files.close();
  }

  /** The CALL `open`: proves what is held of a version. */
  #open(params: unknown): ShardProof {
    const { cluster, model, version } = readOpenRequest(params);
    const { id, cluster: ours } = this.#options;
    if (cluster !== ours) {
      throw new ServingError("DIGEST_MISMATCH", `shard ${id} belongs to cluster ${ours}, asked was ${cluster}`);
    }
    const served = this.#versions.byName(model, version);
    if (!served)
      throw new ServingError("VERSION_NOT_READY", `shard ${id} holds nothing of ${servableName(model, version)} yet`);
    return proofOf(served, ours, id);
  }

  async #register(isDraining: boolean, signal?: AbortSignal): Promise<void> {
    const record = this.#record(isDraining);
    await this.#keys?.set(shardKey(record.id), shardRecord.encode(record), { ...(signal && { signal }) });
  }

  /** What the registry is told of this shard. */
  #record(isDraining: boolean): ShardRecord {
    const { id, instance, machine, zone = "", weight = 1, capacityBytes, unixPath, advertisedHost } = this.#options;
    const tcp = this.#frames.addresses.find((address) => "port" in address);
    const grpc = this.#grpcAddress;
    const advertised = (address: Address) => formatAddress(advertisedAddress(address, advertisedHost));
    return {
      id,
      instance,
      machine,
      zone,
      weight,
      isDraining,
      addresses: {
        ...(tcp && { tcp: advertised(tcp) }),
        ...(unixPath !== undefined && { unix: unixPath }),
        ...(grpc && { grpc: advertised(grpc) }),
      },
      ...(capacityBytes !== undefined && { capacityBytes }),
    };
  }

  /** Works towards every new set of maps. */
  #followMaps(keeper: Keeper): void {
    const known = new KnownMaps({ logger: this.#logger });
    this.#maps.subscribe(() => {
      known.update(this.#maps);
      this.metrics.mapsSavedAtMs = this.#maps.savedAtMs;
      const maps = [...known.all.values()];
      keeper.setMaps(maps);
      if (this.#maps.savedAtMs === undefined) this.#files.removeBeside(maps);
    });
    this.#maps.start();
  }

  #drainGrpc(drainMs: number): Promise<void> {
    if (this.#grpcAddress === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.#clock.after(drainMs, () => {
        this.#grpc.forceShutdown();
        resolve();
      });
      this.#grpc.tryShutdown(() => {
        cancel();
        resolve();
      });
    });
  }
}

/** What this process may use: the container's limit where there is one. */
function memoryBytes(): number {
  const limitBytes = process.constrainedMemory();
  return limitBytes > 0 && limitBytes < totalmem() ? limitBytes : totalmem();
}
