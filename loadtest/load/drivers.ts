import type { Random } from "@shardserve/core";
import { Latencies } from "./histogram.js";

export interface LoadReport {
  readonly requestsPerS: number;
  readonly ok: number;
  /** Requests that failed, by message; a load test with failures is reported as such, never averaged away. */
  readonly failures: ReadonlyMap<string, number>;
  readonly latencies: Latencies;
}

/** Sends request `i`; rejects when it failed. */
export type Send = (i: number) => Promise<unknown>;

/**
 * Keeps `concurrency` requests in flight for `durationMs`: finds the throughput, says nothing about latency at a load. Each caller is
 * two functions and reads the clock once a request: where a request costs 10 us on both ends, awaiting it twice would be a tenth.
 */
export async function closedLoop(options: {
  concurrency: number;
  durationMs: number;
  send: Send;
}): Promise<LoadReport> {
  const run = new Recorder();
  const endMs = performance.now() + options.durationMs;
  let next = 0;
  const call = () =>
    new Promise<void>((resolve) => {
      let fromMs = performance.now();
      const onAnswer = () => {
        const nowMs = performance.now();
        run.succeeded(nowMs - fromMs);
        askAgain(nowMs);
      };
      const onFailure = (error: unknown) => {
        run.failed(error);
        askAgain(performance.now());
      };
      const askAgain = (nowMs: number) => {
        if (nowMs >= endMs) return resolve();
        fromMs = nowMs;
        options.send(next++).then(onAnswer, onFailure);
      };
      askAgain(fromMs);
    });
  await Promise.all(Array.from({ length: options.concurrency }, call));
  return run.report();
}

/**
 * Sends at a fixed mean rate with exponential gaps, whether or not answers came, and counts latency from the moment when
 * a request was due. A slow server therefore shows as latency, not as fewer requests (no coordinated omission).
 */
export async function openLoop(options: {
  ratePerS: number;
  durationMs: number;
  random: Random;
  send: Send;
}): Promise<LoadReport> {
  const run = new Recorder();
  const pending: Promise<void>[] = [];
  const startMs = performance.now();
  let dueMs = startMs;
  for (let i = 0; dueMs < startMs + options.durationMs; i++) {
    dueMs += (-Math.log(1 - options.random.next()) * 1000) / options.ratePerS;
    const waitMs = dueMs - performance.now();
    if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
    else if (i % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
    pending.push(run.record(dueMs, options.send(i)));
  }
  await Promise.all(pending);
  return run.report();
}

class Recorder {
  readonly #startMs = performance.now();
  readonly #latencies = new Latencies();
  readonly #failures = new Map<string, number>();

  async record(fromMs: number, answer: Promise<unknown>): Promise<void> {
    try {
      await answer;
      this.succeeded(performance.now() - fromMs);
    } catch (error) {
      this.failed(error);
    }
  }

  succeeded(latencyMs: number): void {
    this.#latencies.add(latencyMs);
  }

  failed(error: unknown): void {
    const text = (error as Error).message;
    this.#failures.set(text, (this.#failures.get(text) ?? 0) + 1);
  }

  report(): LoadReport {
    const seconds = (performance.now() - this.#startMs) / 1000;
    const ok = this.#latencies.count;
    return { requestsPerS: ok / seconds, ok, failures: this.#failures, latencies: this.#latencies };
  }
}
