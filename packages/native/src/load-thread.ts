import { Worker } from "node:worker_threads";
import { ServingError } from "@shardserve/core";
import { addressOf } from "./native-memory.js";

/** What the thread is asked: CreateSessionFromArray by addresses, all of which stay valid until it answered. */
export interface LoadRequest {
  readonly environment: bigint;
  readonly model: bigint;
  readonly modelBytes: number;
  readonly settings: bigint;
}

/** Its answer: an OrtStatus, null = success, and the session where there is one. */
export interface LoadAnswer {
  readonly status: bigint | null;
  readonly session: bigint;
}

export interface LoadThreadOptions {
  readonly libraryPath: string;
}

/**
 * One thread of low priority that makes sessions, one after another: reading weights and packing them for the kernels takes seconds of a
 * core, which the threads that serve would have to share with threads of libuv's pool. Started at first use.
 */
export class LoadThread {
  readonly #options: LoadThreadOptions;
  #worker: Worker | undefined;
  /** Asked and not yet answered, in order. */
  readonly #waiting: { readonly resolve: (answer: LoadAnswer) => void; readonly reject: (error: Error) => void }[] = [];

  constructor(options: LoadThreadOptions) {
    this.#options = options;
  }

  /**
   * Makes a session. `model` must stay reachable until the promise is settled.
   *
   * @throws ServingError ENGINE_FAILED when the thread died
   */
  createSession(environment: bigint, model: Uint8Array, settings: bigint): Promise<LoadAnswer> {
    this.#worker ??= this.#start();
    const request: LoadRequest = { environment, model: addressOf(model), modelBytes: model.byteLength, settings };
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker!.ref(); // a load under way keeps the process, an idle thread does not
      this.#worker!.postMessage(request);
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL("load-worker.js", import.meta.url), { workerData: this.#options });
    worker.on("message", (answer: LoadAnswer) => {
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
