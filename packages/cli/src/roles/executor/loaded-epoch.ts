import type { Model, RunResult } from "@shardserve/servable";
import type { EpochOnDisk } from "../versions/epoch-chain.js";

/** A loaded dense part. Epochs share it for as long as only their rows differ: it is let go with the last of them. */
export class LoadedGraph {
  readonly model: Model;
  readonly #at: EpochOnDisk;
  #epochs = 0;

  constructor(at: EpochOnDisk, model: Model) {
    this.#at = at;
    this.model = model;
  }

  /** Whether it is what loading an epoch would give: a graph is made for its tables' sizes. */
  isOf({ denseDigest, tables }: EpochOnDisk): boolean {
    return denseDigest === this.#at.denseDigest && tables.every(({ rows }, i) => rows === this.#at.tables[i]?.rows);
  }

  hold(): void {
    this.#epochs++;
  }

  async release(): Promise<void> {
    this.#epochs--;
    if (this.#epochs === 0) await this.model.close();
  }
}

/** An epoch that can be answered, and the runs that use it. */
export class LoadedEpoch {
  readonly at: EpochOnDisk;
  readonly graph: LoadedGraph;
  #runs = 0;
  #onIdle: (() => void) | undefined;

  constructor(at: EpochOnDisk, graph: LoadedGraph) {
    this.at = at;
    this.graph = graph;
    graph.hold();
  }

  async run(...[signature, inputs, options]: Parameters<Model["run"]>): Promise<RunResult> {
    this.#runs++;
    try {
      return await this.graph.model.run(signature, inputs, { ...options, epoch: this.at.epoch });
    } finally {
      this.#runs--;
      if (this.#runs === 0) this.#onIdle?.();
    }
  }

  /** After the last run. */
  async close(): Promise<void> {
    if (this.#runs > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    await this.graph.release();
  }
}
