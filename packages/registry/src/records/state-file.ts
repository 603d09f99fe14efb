import { createHash } from "node:crypto";
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { ServingError } from "@shardserve/core";
import { decodeMessage, encodeMessage } from "@shardserve/transport";
import { RecordReader } from "./record-reader.js";
import type { Entry } from "../registry.js";
import { entryOf } from "../remote/registry-wire.js";

/** Keys as they stood at one revision, kept for a start without the registry. */
export interface SavedState {
  readonly revision: number;
  /** Wall clock of the save, ms since the epoch. */
  readonly savedAtMs: number;
  readonly entries: readonly Entry[];
}

const MAGIC = Buffer.from("SHRDSTAT");
const FORMAT = 1;
/** Magic, format (u32), payload bytes (u32), SHA-256 of the payload. */
const HEADER_BYTES = 8 + 4 + 4 + 32;

/**
 * The last known state of one prefix of the registry on disk (docs/formats.md, "State file"). Written beside and renamed
 * over, so that a crash leaves the old one or the new one; believed only when checksum, format, cluster and prefix are right.
 */
export class StateFile {
  readonly path: string;
  readonly #cluster: string;
  readonly #prefix: string;

  constructor(path: string, options: { readonly cluster: string; readonly prefix: string }) {
    this.path = path;
    this.#cluster = options.cluster;
    this.#prefix = options.prefix;
  }

  /**
   * @returns undefined when there is no file
   * @throws ServingError STATE_INVALID saying what is wrong with it
   */
  async load(): Promise<SavedState | undefined> {
    const bytes = await readFile(this.path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw this.#invalid(error.message);
    });
    return bytes && this.#decode(bytes);
  }

  /** @throws the file system's error; the file that was there stays */
  async save({ revision, savedAtMs, entries }: SavedState): Promise<void> {
    const plain = entries.map(({ key, value, modRevision, createRevision }) => ({
      key,
      value,
      modRevision,
      createRevision,
    }));
    const payload = encodeMessage({
      cluster: this.#cluster,
      prefix: this.#prefix,
      revision,
      savedAtMs,
      entries: plain,
    });
    const header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(header);
    header.writeUInt32LE(FORMAT, 8);
    header.writeUInt32LE(payload.length, 12);
    digestOf(payload).copy(header, 16);
    const temporary = `${this.path}.writing`;
    await mkdir(dirname(this.path), { recursive: true });
    const file = await open(temporary, "w");
    try {
      await file.writev([header, payload]);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.path);
  }

  #decode(bytes: Buffer): SavedState {
    if (bytes.length < HEADER_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) throw this.#invalid("it is no state file");
    const format = bytes.readUInt32LE(8);
    if (format !== FORMAT) throw this.#invalid(`its format is ${format}, this program reads ${FORMAT}`);
    const payload = bytes.subarray(HEADER_BYTES);
    if (payload.length !== bytes.readUInt32LE(12)) throw this.#invalid("it is cut short or too long");
    if (!digestOf(payload).equals(bytes.subarray(16, HEADER_BYTES))) throw this.#invalid("its checksum is wrong");
    const reader = new RecordReader(decodeMessage(payload, this.path), this.path);
    for (const [field, ours] of [
      ["cluster", this.#cluster],
      ["prefix", this.#prefix],
    ] as const) {
      const found = reader.text(field);
      if (found !== ours) throw this.#invalid(`it is of ${field} "${found}", not "${ours}"`);
    }
    return {
      revision: reader.integer("revision", 1),
      savedAtMs: reader.number("savedAtMs", 0, Number.MAX_SAFE_INTEGER),
      entries: reader.objects("entries").map(entryOf),
    };
  }

  #invalid(why: string): ServingError {
    return new ServingError("STATE_INVALID", `${this.path}: ${why}; it is left out`);
  }
}

function digestOf(payload: Uint8Array): Buffer {
  return createHash("sha256").update(payload).digest();
}
