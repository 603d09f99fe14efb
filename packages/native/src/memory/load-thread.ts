import { Worker } from "node:worker_threads";
import { ServingError } from "@shardserve/core";
import { addressOf } from "./native-memory.js";

/** CreateSessionFromArray by addresses, all of which stay valid until it answered. */
export interface SessionRequest {
  readonly kind: "session";
  readonly libraryPath: string;
  readonly environment: bigint;
  readonly model: bigint;
  readonly modelBytes: number;
  readonly settings: bigint;
}

/** An OrtStatus, null = success, and the session where there is one. */
export interface SessionAnswer {
  readonly status: bigint | null;
  readonly session: bigint;
}

/** crc32c of bytes of a file, continuing from `previous`. */
export interface ChecksumRequest {
  readonly kind: "checksum";
  readonly path: string;
  readonly offset: number;
  readonly length: number;
  readonly previous: number;
}

export interface ChecksumAnswer {
  readonly crc32c: number;
}

/** What the thread was asked and could not do. */
export interface FailedAnswer {
  readonly failure: string;
}

type Answer = SessionAnswer | ChecksumAnswer | FailedAnswer;

/**
 * One thread of low priority that does the heavy parts of loads, one after another: reading weights, packing them for the kernels and comparing
 * their checksums takes seconds of a core, which the threads that serve would have to share with threads of libuv's pool. Started at first use.
 */
export class LoadThread {
  #worker: Worker | undefined;
  /** Asked and not yet answered, in order. */
  readonly #waiting: { readonly resolve: (answer: Answer) => void; readonly reject: (error: Error) => void }[] = [];

  /**
   * Makes a session. `model` must stay reachable until the promise is settled.
   *
   * @throws ServingError ENGINE_FAILED when the thread died
   */
  createSession(libraryPath: string, environment: bigint, model: Uint8Array, settings: bigint): Promise<SessionAnswer> {
    const place = { model: addressOf(model), modelBytes: model.byteLength };
    return this.#ask<SessionAnswer>({ kind: "session", libraryPath, environment, ...place, settings });
  }

  /**
   * Reads `[offset, offset + length)` of a file.
   *
   * @param previous  crc32c of what stands before these bytes
   * @returns crc32c of both
   * @throws ServingError CHECKPOINT_INVALID when the bytes cannot be read; ENGINE_FAILED when the thread died
   */
  async checksumOf(path: string, offset: number, length: number, previous: number): Promise<number> {
    const answer = await this.#ask<ChecksumAnswer>({ kind: "checksum", path, offset, length, previous });
    return answer.crc32c;
  }

  async #ask<T extends Answer>(request: SessionRequest | ChecksumRequest): Promise<T> {
    this.#worker ??= this.#start();
    const answer = await new Promise<Answer>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker!.ref(); // a load under way keeps the process, an idle thread does not
      this.#worker!.postMessage(request);
    });
    if ("failure" in answer) throw new ServingError("CHECKPOINT_INVALID", answer.failure);
    return answer as T;
  }

  #start(): Worker {
    const worker = new Worker(new URL("load-worker.js", import.meta.url));
    worker.on("message", (answer: Answer) => {
      this.#waiting.shift()!.resolve(answer);
      if (this.#waiting.length === 0) worker.unref();
    });
    worker.on("error", (cause) => {
      this.#worker = undefined; // the next load starts another
      const error = new ServingError("ENGINE_FAILED", `the thread that loads models died: ${cause.message}`, { cause });
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    });
    return worker;
  }
}
