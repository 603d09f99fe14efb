import type { ProgressTask } from "@shardserve/core";

/** Bytes `[byteStart, byteStart + size)` of a tensor, found at `offset` of a file. */
export interface StoredPart {
  readonly path: string;
  readonly offset: number;
  readonly size: number;
  readonly byteStart: number;
  /** Masked crc32c of the part, as checkpoints have it; undefined where the format has no checksums. */
  readonly crc32c: number | undefined;
}

/** Where the tensors of a model lie, row-major and little-endian, by checkpoint key. */
export interface SourceTensors extends AsyncDisposable {
  /** In order, without empty ones; undefined for a tensor that is cut across its rows, which only {@link stream} reads. */
  parts(checkpointKey: string): readonly StoredPart[] | undefined;
  /** The bytes of a tensor without {@link parts}, in chunks that are valid until the next; checksums are verified on the way. */
  stream(checkpointKey: string): AsyncGenerator<Uint8Array>;
  /** Reads a few bytes of a tensor, without verifying a checksum. */
  readRange(checkpointKey: string, start: number, length: number): Promise<Uint8Array>;
}

/** A model that can be exported: a SavedModel, or an ONNX model. */
export interface ExportSource {
  readonly kind: "SavedModel" | "ONNX model";
  readonly dir: string;
  openTensors(): Promise<SourceTensors>;
  /**
   * Writes what is left of the model without its sharded tables: a model of the same kind that lacks some tensors. What an
   * earlier run left there is overwritten.
   */
  writeRemainder(remainder: Remainder): Promise<void>;
  /** Compares what {@link writeRemainder} would write with what it wrote of another model into a directory. */
  changesSince(before: string, remainder: Pick<Remainder, "tables" | "dense" | "signal">): Promise<DenseChanges>;
}

export interface DenseChanges {
  /** Checkpoint keys of the tensors whose values, type or shape are others. */
  readonly tensors: readonly string[];
  readonly isGraphChanged: boolean;
}

export interface Remainder {
  /** Sharded tables, by checkpoint key. */
  readonly tables: readonly { readonly checkpointKey: string }[];
  /** Tensors to keep. */
  readonly dense: readonly { readonly checkpointKey: string; readonly bytes: number }[];
  readonly dir: string;
  readonly progress: ProgressTask;
  readonly signal: AbortSignal | undefined;
}
