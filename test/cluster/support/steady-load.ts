import { seededRandom } from "@shardserve/core";
import { GrpcClient } from "./grpc.js";
import { stampedRequest } from "./stamped-model.js";

const CONCURRENCY = 4;
/** Pause of each sender between a reply and its next request, so that the servers of the test get the processors too. */
const PAUSE_MS = 5;

/** What became of the requests so far. */
export interface LoadResult {
  readonly ok: number;
  /** Failed requests and wrong replies, in words. */
  readonly failures: readonly string[];
  /** Replies by version. */
  readonly versions: ReadonlyMap<number, number>;
}

/** Keeps asking an executor for stamped predictions and checks every element of every reply. */
export class SteadyLoad implements AsyncDisposable {
  readonly #client: GrpcClient;
  readonly #senders: Promise<unknown>;
  readonly #failures: string[] = [];
  readonly #versions = new Map<number, number>();
  readonly #latenciesMs: number[] = [];
  #ok = 0;
  #isStopped = false;

  /** @param address  gRPC address of the executor */
  constructor(address: string, seed = 1) {
    this.#client = new GrpcClient(address);
    this.#senders = Promise.all(Array.from({ length: CONCURRENCY }, (_, i) => this.#send(seed * CONCURRENCY + i)));
  }

  /** Resolves when so many more requests were answered. */
  async more(count: number): Promise<void> {
    const target = this.#ok + this.#failures.length + count;
    while (this.#ok + this.#failures.length < target) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  /** Latencies of good replies since this was asked last, in milliseconds, ascending. */
  takeLatencies(): number[] {
    return this.#latenciesMs.splice(0).sort((a, b) => a - b);
  }

  /** Replies of a version so far. */
  answeredBy(version: number): number {
    return this.#versions.get(version) ?? 0;
  }

  /** Ends it: no further requests, all replies awaited. */
  async stop(): Promise<LoadResult> {
    this.#isStopped = true;
    await this.#senders;
    this.#client[Symbol.dispose]();
    return { ok: this.#ok, failures: this.#failures, versions: this.#versions };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #send(seed: number): Promise<void> {
    const random = seededRandom(seed);
    while (!this.#isStopped) {
      const request = stampedRequest(random);
      const startMs = performance.now();
      try {
        const reply = await this.#client.send(request.bytes);
        request.check(reply);
        this.#latenciesMs.push(performance.now() - startMs);
        this.#ok++;
        this.#versions.set(reply.version, this.answeredBy(reply.version) + 1);
      } catch (error) {
        this.#failures.push((error as Error).message);
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}
