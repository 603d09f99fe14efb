import { join } from "node:path";
import { type Clock, type Logger, Semaphore, ServingError } from "@shardserve/core";
import { type Address, asRecord, FramedClient } from "@shardserve/transport";
import { type FileSource, openFile, type OpenSource, PIECE_BYTES, readPiece } from "./file-source.js";
import { type ServedVersions, servableName } from "../versions/served-version.js";

/** The CALL by which a shard copies a file of a version from another, piece by piece. */
export const READ_FILE_METHOD = "readFile";

/** Pieces that are read for others at once: lookups come first. */
const READS_MAX = 2;
const WAITERS_MAX = 256;
const CONNECT_MS = 3_000;
/** For one piece. */
const READ_MS = 30_000;

/** What shards tell each other: what a version consists of, and nothing else below its directory. */
const FILES =
  /^(shardserve\.manifest|partitions\/p-(\d{5,})\.rows|(deltas|folds)\/[1-9]\d*\/(shardserve\.delta|rows\.delta|p-\d{5,}\.delta))$/;

export interface FilePiece {
  /** Of the whole file. */
  readonly size: number;
  readonly bytes: Uint8Array;
}

/** Answers READ_FILE: files of versions that this shard holds, partition files only once it has verified them. */
export class FileServer {
  readonly #versions: ServedVersions;
  readonly #cluster: string;
  readonly #reads = new Semaphore(READS_MAX, WAITERS_MAX);

  constructor(versions: ServedVersions, cluster: string) {
    this.#versions = versions;
    this.#cluster = cluster;
  }

  /** @throws ServingError FRAME_INVALID, DIGEST_MISMATCH for another cluster, NOT_FOUND, RESOURCE_EXHAUSTED */
  async read(params: unknown): Promise<FilePiece> {
    const { cluster, model, version, path, offset, length } = readRequest(params);
    if (cluster !== this.#cluster)
      throw new ServingError("DIGEST_MISMATCH", `this shard belongs to cluster ${this.#cluster}, asked was ${cluster}`);
    const served = this.#versions.byName(model, version);
    const [, , partition] = FILES.exec(path) ?? [];
    const isHeld = partition === undefined || served?.digests.has(Number(partition));
    if (!served || !FILES.test(path) || !isHeld)
      throw new ServingError("NOT_FOUND", `this shard has no ${path} of ${servableName(model, version)}`);
    await this.#reads.acquire();
    try {
      const handle = await openFile(join(served.files.directory, path));
      try {
        const { size } = await handle.stat();
        return { size, bytes: await readPiece(handle, offset, Math.min(length, PIECE_BYTES)) };
      } finally {
        await handle.close();
      }
    } finally {
      this.#reads.release();
    }
  }
}

interface ReadRequest {
  readonly cluster: string;
  readonly model: string;
  readonly version: number;
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

function readRequest(params: unknown): ReadRequest {
  const { cluster, model, version, path, offset, length } = asRecord(params, READ_FILE_METHOD);
  const isText = [cluster, model, path].every((value) => typeof value === "string");
  const isCount = [version, offset, length].every((value) => Number.isSafeInteger(value) && (value as number) >= 0);
  if (!isText || !isCount)
    throw new ServingError("FRAME_INVALID", `${READ_FILE_METHOD} needs cluster, model, version, path, offset, length`);
  return { cluster, model, version, path, offset, length } as ReadRequest;
}

export interface PeerSourceOptions {
  readonly shard: string;
  readonly address: Address;
  /** This shard, as it introduces itself. */
  readonly self: string;
  readonly cluster: string;
  readonly model: string;
  readonly version: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Another shard that holds the version. */
export class PeerSource implements FileSource {
  readonly name: string;
  readonly kind = "peer";
  readonly #options: PeerSourceOptions;

  constructor(options: PeerSourceOptions) {
    this.name = `shard ${options.shard}`;
    this.#options = options;
  }

  async open(path: string, signal: AbortSignal): Promise<OpenSource> {
    const { address, self, cluster, model, version, clock, logger } = this.#options;
    const client = new FramedClient({ address, peer: self, clock, logger });
    const read = async (offset: number, length: number): Promise<FilePiece> => {
      const request = { cluster, model, version, path, offset, length };
      const deadlineMs = clock.nowMs() + READ_MS;
      const { size, bytes } = asRecord(await client.call(READ_FILE_METHOD, request, { deadlineMs, signal }), "a piece");
      if (!Number.isSafeInteger(size) || !(bytes instanceof Uint8Array))
        throw new ServingError("FRAME_INVALID", `${this.name} answered no piece of ${path}`);
      return { size: size as number, bytes };
    };
    try {
      await client.start({ signal });
      await client.whenReady({ deadlineMs: clock.nowMs() + CONNECT_MS, signal });
      const { size } = await read(0, 0);
      return {
        size,
        read: async (offset, length) => (await read(offset, length)).bytes,
        [Symbol.asyncDispose]: () => client.close(),
      };
    } catch (error) {
      await client.close();
      throw error;
    }
  }
}
