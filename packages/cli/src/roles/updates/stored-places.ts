import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Logger, ProcessLock, ServingError } from "@shardserve/core";
import { childUri, parseStoreUri, Stores } from "@shardserve/object-store";
import { MANIFEST_FILE, readManifest } from "@shardserve/rowstore";
import type { Terminal } from "../../command.js";
import { stagingFolder } from "../versions/staged-export.js";
import { copiedVersion } from "../versions/version-copy.js";
import type { EpochPlaces } from "./epoch-place.js";
import { StoredPlace, type StoredPlaceOptions } from "./stored-place.js";

/** The versions BASE/NAME/VERSION in an object store, with copies in a folder that is this process's as long as it runs. */
export class StoredPlaces implements EpochPlaces {
  readonly #uri: string;
  readonly #directory: string;
  readonly #stores: Stores;
  readonly #lock: ProcessLock;
  readonly #announce: StoredPlaceOptions["announce"];
  readonly #logger: Logger;

  private constructor(
    uri: string,
    directory: string,
    stores: Stores,
    lock: ProcessLock,
    announce: StoredPlaceOptions["announce"],
    logger: Logger,
  ) {
    this.#uri = uri;
    this.#directory = directory;
    this.#stores = stores;
    this.#lock = lock;
    this.#announce = announce;
    this.#logger = logger;
  }

  /**
   * @param uri  BASE
   * @param purpose  processes of different purposes have folders of their own
   * @param announce  called when something was put into the store; never rejects
   * @throws ServingError CONFIG_INVALID when another process has the folder; INVALID_ARGUMENT when the URI names no place
   */
  static async take(
    uri: string,
    stagingDir: string,
    purpose: string,
    announce: StoredPlaceOptions["announce"],
    { environment, logger }: Pick<Terminal, "environment" | "logger">,
  ): Promise<StoredPlaces> {
    parseStoreUri(uri);
    const base = uri.replace(/\/$/, "");
    const directory = stagingFolder(stagingDir, `${base}#${purpose}`);
    await mkdir(directory, { recursive: true });
    const refuse = (owner: number) =>
      new ServingError(
        "CONFIG_INVALID",
        `process ${owner} works on ${base} in ${directory}; give each process a --staging-dir of its own`,
      );
    const lock = await ProcessLock.take(join(directory, "lock"), refuse);
    return new StoredPlaces(base, directory, new Stores(environment), lock, announce, logger);
  }

  async open(model: string, version: number, signal: AbortSignal): Promise<StoredPlace> {
    const uri = childUri(childUri(this.#uri, model), String(version));
    const place = parseStoreUri(uri);
    const [stores, logger] = [this.#stores, this.#logger];
    if (!(await (await stores.of(place)).find(place, MANIFEST_FILE, signal)))
      throw new ServingError("NOT_FOUND", `${uri} holds no exported version; is it the cluster's model repository?`);
    const files = copiedVersion({ stores, uri, directory: join(this.#directory, model, String(version)), logger });
    await files.provide(MANIFEST_FILE, signal);
    const base = await readManifest(files.directory);
    if (!base) throw new ServingError("NOT_FOUND", `${uri} holds no exported version`);
    const opened = new StoredPlace({ stores, uri, files, base, announce: this.#announce, logger });
    await opened.dropUnpublished(signal);
    return opened;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stores.close();
    await this.#lock.release();
  }
}
