import { type DType, type Tensor } from "@shardserve/tensor";

/** Where the session gets an initializer's bytes from. */
export type WeightSource =
  | {
      readonly kind: "variable";

      readonly checkpointKey: string;
      /** One part of a partitioned variable. */
      readonly slice?: { readonly start: readonly number[]; readonly length: readonly number[] };
    }
  | { readonly kind: "tensor"; readonly tensor: Tensor };

/** A constant too large to stand in the model as it is; see {@link OnnxBuilder.build}. */
export interface Weight {
  readonly name: string;
  readonly dtype: DType;
  /** After the permutation, with the shape that the graph sees. */
  readonly shape: readonly number[];
  readonly source: WeightSource;
  /** Shape of the source before the permutation. */
  readonly sourceShape: readonly number[];
  /** Dimension i of the permuted weight is dimension `permutation[i]` of the source; absent = as stored. */
  readonly permutation?: readonly number[];
}

/** A value inside the model under construction: the result of a node, an input, a constant or a weight. */
export interface Value {
  readonly name: string;
  readonly dtype: DType;
  /** Set when the value is a constant whose content is known here. */
  readonly tensor?: Tensor;
  /** Set when the value is a weight. */
  readonly weight?: Weight;
  /** The same with dimension -1 moved to 1, where it exists already; see channels.ts. */
  readonly channelsFirst?: { readonly value: Value; readonly rank: number };
  /** Of a line [n, l, c], or one with an axis of length 1 behind l: the same as images of one row, [n, c, 1, l], where it exists already. */
  readonly row?: Value;
  /** Of volumes [n, d, h, w, c]: their planes as images, where they exist already; see planes.ts. */
  readonly planes?: { readonly value: Value; readonly shape: readonly [number, number, number, number] };
}
