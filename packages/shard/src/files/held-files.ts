import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, invariant, type Logger, makeFolder, ServingError } from "@shardserve/core";
import { type PartitionMap, replicasOf } from "@shardserve/placement";
import { type Registry, RegistryView, shardKey, shardRecord, SHARDS_PREFIX } from "@shardserve/registry";
import { type Address, parseAddress } from "@shardserve/transport";
import { CopiedFiles, type CopiedFilesOptions } from "./copied-files.js";
import { type FileSource, RepositorySource } from "./file-source.js";
import { PeerSource } from "./peer-files.js";
import { StaleCopies } from "./stale-copies.js";
import { RepositoryFiles, type VersionFiles } from "./version-files.js";

/** Below the data directory: nothing else in it is ever touched. */
const COPIES_DIR = "shardserve-copies";

export interface HeldFilesOptions {
  /** The shard that holds them. */
  readonly id: string;
  readonly cluster: string;
  readonly registry: Registry;
  /** Folder with NAME/VERSION version directories; without meaning where `sourceOf` is given. */
  readonly repository: string;
  /** Opens a version in a repository that is no folder. */
  readonly sourceOf?: (model: string, version: number) => FileSource;
  /** Folder for copies; absent = files are read in the repository. */
  readonly dataDir?: string;
  readonly onCopied: CopiedFilesOptions["onCopied"];
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * The files of the versions that a shard holds: in the repository, or copied to the shard's own disk, from a shard that
 * serves them, else from the repository.
 */
export class HeldFiles {
  readonly #options: HeldFilesOptions;
  /** Where other shards are; only where files are copied from them. */
  readonly #shards: RegistryView | undefined;
  readonly #stale: StaleCopies | undefined;

  constructor(options: HeldFilesOptions) {
    const { registry, sourceOf, dataDir, clock, logger } = options;
    invariant(!sourceOf || dataDir !== undefined, "a repository that is no folder needs a dataDir");
    this.#options = options;
    if (dataDir !== undefined) {
      this.#shards = new RegistryView(registry, SHARDS_PREFIX, { logger, clock });
      this.#stale = new StaleCopies(join(dataDir, COPIES_DIR), logger);
    }
  }

  /**
   * A shard that could copy nothing would be given partitions all the same, and their versions would wait for it.
   *
   * @throws ServingError CONFIG_INVALID
   */
  async checkWritable(): Promise<void> {
    const { dataDir } = this.#options;
    if (dataDir === undefined) return;
    try {
      await makeFolder(dataDir);
      await access(dataDir, constants.W_OK | constants.X_OK);
    } catch (cause) {
      throw new ServingError("CONFIG_INVALID", `--data-dir=${dataDir}: ${(cause as Error).message}`, { cause });
    }
  }

  /** Begins to follow where other shards are. */
  start(): void {
    this.#shards?.start();
  }

  async close(): Promise<void> {
    await this.#shards?.close();
    await this.#stale?.whenIdle();
  }

  /** The registry names these versions, all that there are now; copies of others go. */
  removeBeside(named: Parameters<StaleCopies["removeBeside"]>[0]): void {
    this.#stale?.removeBeside(named);
  }

  /** @param enabled  the version's map in force, which says who else has a file; asked when one is needed */
  of(model: string, version: number, enabled: () => PartitionMap | undefined): VersionFiles {
    const { repository, sourceOf, dataDir, onCopied, logger } = this.#options;
    const directory = join(repository, model, String(version));
    if (dataDir === undefined) return new RepositoryFiles(directory);
    return new CopiedFiles({
      directory: join(dataDir, COPIES_DIR, model, String(version)),
      peers: (path) => this.#peersWith(path, model, version, enabled()),
      repository: sourceOf?.(model, version) ?? new RepositorySource(directory),
      roomCure: "make room there, or lower --capacity",
      onCopied,
      logger,
    });
  }

  /** Other shards that may have a file of a version: of a partition its replicas, of anything else all. */
  #peersWith(path: string, model: string, version: number, map: PartitionMap | undefined): PeerSource[] {
    if (!map) return [];
    const { id, cluster, clock, logger } = this.#options;
    const partition = /^partitions\/p-(\d+)\.rows$/.exec(path)?.[1];
    const holders = partition === undefined ? map.shards : replicasOf(map, Number(partition));
    return holders.flatMap((shard) => {
      const address = shard === id ? undefined : this.#addressOf(shard);
      const self = `shard ${id}`;
      return address ? [new PeerSource({ shard, address, self, cluster, model, version, clock, logger })] : [];
    });
  }

  #addressOf(shard: string): Address | undefined {
    const entry = this.#shards?.entries.get(shardKey(shard));
    const tcp = entry && shardRecord.decode(entry.value, entry.key).addresses.tcp;
    return tcp === undefined ? undefined : parseAddress(tcp);
  }
}
