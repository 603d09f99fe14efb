import { ServingError } from "@shardserve/core";
import { returnFreedMemory } from "@shardserve/native";
import type { RunOptions, RunResult, SignatureInfo } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import type { EngineModel, ModelEngine } from "./options.js";

/** One signature, ready to run. */
export interface Runner {
  /** Why every run fails; absent = runs do not. */
  readonly refusal?: string;
  run(inputs: ReadonlyMap<string, Tensor>, options: RunOptions): Promise<RunResult>;
}

interface LoadedParts {
  readonly engine: ModelEngine;
  readonly signatures: ReadonlyMap<string, SignatureInfo>;
  readonly metadata: Uint8Array;
  readonly runners: ReadonlyMap<string, Runner>;
  readonly broken: ReadonlyMap<string, string>;
  readonly release: () => Promise<void>;
}

/** A model that serves; signatures that cannot be served answer with the reason. */
export class LoadedModel implements EngineModel {
  readonly engine: ModelEngine;
  readonly signatures: ReadonlyMap<string, SignatureInfo>;
  readonly metadata: Uint8Array;
  readonly broken: ReadonlyMap<string, string>;
  readonly #parts: LoadedParts;
  #closed: Promise<void> | undefined;

  constructor(parts: LoadedParts) {
    this.engine = parts.engine;
    this.signatures = parts.signatures;
    this.metadata = parts.metadata;
    const refused = [...parts.runners].flatMap(([name, { refusal }]): [string, string][] =>
      refusal === undefined ? [] : [[name, refusal]],
    );
    this.broken = new Map([...parts.broken, ...refused]);
    this.#parts = parts;
  }

  async run(signature: string, inputs: ReadonlyMap<string, Tensor>, options: RunOptions): Promise<RunResult> {
    const { runners } = this.#parts;
    const runner = runners.get(signature);
    if (this.signatures.get(signature)?.outputs.size === 0) {
      // TensorFlow's words: exports keep such signatures for functions that return nothing, or no tensor.
      throw new ServingError("INVALID_ARGUMENT", "Must specify at least one target to fetch or execute.");
    }
    if (runner) return runner.run(inputs, options);
    const reason = this.broken.get(signature);
    if (reason !== undefined) throw new ServingError("OP_UNSUPPORTED", reason);
    throw new ServingError("NOT_FOUND", `the model has no signature "${signature}"`);
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#parts.release().then(returnFreedMemory));
  }
}
