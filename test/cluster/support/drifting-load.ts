import assert from "node:assert/strict";
import { seededRandom } from "@shardserve/core";
import { eventually } from "@shardserve/testkit";
import { driftingRequest } from "./drifting-model.js";
import { GrpcClient } from "./grpc.js";

const SENDERS = 3;
/** Pause of each sender between a reply and its next request. */
const PAUSE_MS = 4;

/** Keeps asking an executor and checks every element of every answer against the epoch that the answer claims. */
export class DriftingLoad implements AsyncDisposable {
  readonly failures: string[] = [];
  /** Epochs of the answers, in the order in which they came. */
  readonly epochs: number[] = [];
  readonly #client: GrpcClient;
  readonly #senders: Promise<unknown>;
  #isStopped = false;

  /** @param address  gRPC address of the executor */
  constructor(address: string, seed = 1) {
    this.#client = new GrpcClient(address);
    this.#senders = Promise.all(Array.from({ length: SENDERS }, (_, i) => this.#send(seed * SENDERS + i)));
  }

  async until(isSo: () => boolean, what: string): Promise<void> {
    await eventually(
      () => {
        if (!isSo()) throw new Error(`${what}; epochs ${this.epochs.slice(-5).join()}; ${this.failures.join("; ")}`);
        return Promise.resolve();
      },
      { timeoutMs: 60_000, intervalMs: 20 },
    );
  }

  /** Resolves when so many more requests were answered, or one failed. */
  async more(count: number): Promise<void> {
    const target = this.epochs.length + count;
    await this.until(() => this.epochs.length >= target || this.failures.length > 0, `${count} more answers`);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#senders;
    this.#client[Symbol.dispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #send(seed: number): Promise<void> {
    const random = seededRandom(seed);
    while (!this.#isStopped) {
      const request = driftingRequest(random);
      try {
        const reply = await this.#client.send(request.bytes);
        assert.ok(reply.epoch !== undefined, "the answer claims no epoch");
        this.epochs.push(request.check(reply));
      } catch (error) {
        this.failures.push((error as Error).message);
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}
