import { type DType, scalar, tensor } from "@shardserve/tensor";
import type { Shape } from "../../ir/attrs.js";
import type { Graph, GraphNode, TensorRef } from "../../ir/ir.js";
import { nodeOf } from "../../ir/program.js";
import type { Block, Value } from "./dataset-blocks.js";
import { behindIdentity } from "../control/regions.js";

/**
 * A dataset of which any element can be had by its index. Its values in other blocks than that of the program are got by
 * {@link Block.global}.
 */
export interface Indexed {
  /** Number of elements, an int64 scalar of the program. */
  readonly count: Value;
  readonly dtypes: readonly DType[];
  readonly shapes: readonly Shape[];
  /** Element `index`, an int64 scalar of `block`, below the count. */
  readonly at: (block: Block, index: Value) => readonly Value[];
  /** Elements `start` up to `end`, stacked; absent: they are computed one by one. */
  readonly slice?: (block: Block, start: Value, end: Value) => readonly Value[];
}

/** What an input of a node stands for, and what an op needs beside. */
interface Source {
  readonly node: GraphNode;
  readonly top: Block;
  /** The dataset at an input; undefined where it is none of these. */
  readonly input: (index: number) => Indexed | undefined;
  readonly value: (index: number, dtype: DType) => Value;
}

/** Datasets with the elements of their input 0: they say how to compute these, not what they are. */
export const SAME_ELEMENTS = new Set([
  "PrefetchDataset",
  "OptionsDataset",
  "ModelDataset",
  "CacheDataset",
  "CacheDatasetV2",
  "PrivateThreadPoolDataset",
  "MaxIntraOpParallelismDataset",
  "AssertCardinalityDataset",
  "RewriteDataset",
]);

const READERS: Readonly<Record<string, (source: Source) => Indexed | undefined>> = {
  TensorDataset: single,
  TensorSliceDataset: slices,
  RangeDataset: range,
  BatchDataset: batches,
  BatchDatasetV2: batches,
  MapDataset: mapped,
  ParallelMapDataset: mapped,
  ParallelMapDatasetV2: mapped,
  TakeDataset: taken,
  SkipDataset: skipped,
  ZipDataset: zipped,
};

/**
 * The dataset that `ref` stands for.
 *
 * @param top the block of the program, which gets the nodes that every element needs
 */
export function indexedDataset(graph: Graph, ref: TensorRef, top: Block): Indexed | undefined {
  const node = nodeOf(graph, behindIdentity(graph, ref).node);
  const input = (index: number): Indexed | undefined => indexedDataset(graph, node.inputs[index]!, top);
  if (SAME_ELEMENTS.has(node.op)) return input(0);
  const value = (index: number, dtype: DType): Value => ({ ref: node.inputs[index]!, dtype });
  return READERS[node.op]?.({ node, top, input, value });
}

function single({ node, top, value }: Source): Indexed {
  const dtypes = node.attrs.dtypes("Toutput_types");
  const values = dtypes.map((dtype, i) => value(i, dtype));
  const shapes = node.attrs.shapes("output_shapes");
  return { count: top.long(1), dtypes, shapes, at: (block) => values.map((item) => block.global(item)) };
}

function slices({ node, top, value }: Source): Indexed {
  const dtypes = node.attrs.dtypes("Toutput_types");
  const lengths = dtypes.map((T, i) => {
    const shape = top.add("Shape", "int64", [value(i, T)], { T, out_type: "int64" });
    return gathered(top, shape, top.long(0));
  });
  const isEven = lengths.slice(1).map((length) => top.compare("Equal", length, lengths[0]!));
  const components = dtypes.map((dtype, i) => {
    const component = value(i, dtype);
    return i === 0 ? component : top.guarded([component], isEven[i - 1]!, UNEVEN)[0]!;
  });
  return {
    count: lengths[0]!,
    dtypes,
    shapes: node.attrs.shapes("output_shapes"),
    at: (block, index) => components.map((component) => gathered(block, block.global(component), index)),
    slice: (block, start, end) =>
      components.map((component) => {
        const bounds = [start, end].map((bound) => block.add("Pack", "int64", [bound], { T: "int64", N: 1, axis: 0 }));
        const step = block.constant(tensor("int64", [1], BigInt64Array.of(1n)));
        const attrs = { T: component.dtype, Index: "int64" };
        return block.add("StridedSlice", component.dtype, [block.global(component), ...bounds, step], attrs);
      }),
  };
}

const UNEVEN = "All components of a TensorSliceDataset must have the same size in dimension 0";

function gathered(block: Block, from: Value, index: Value): Value {
  const axis = block.constant(scalar("int32", 0));
  const attrs = { Tparams: from.dtype, Tindices: "int64", Taxis: "int32" };
  return block.add("GatherV2", from.dtype, [from, index, axis], attrs);
}

function range({ node, top, value }: Source): Indexed {
  const [start, stop, step] = [value(0, "int64"), value(1, "int64"), value(2, "int64")];
  const dtypes = node.attrs.dtypes("output_types");
  // Rounded up: the last step may be cut short.
  const whole = top.math("FloorDiv", top.math("Sub", start, stop), step);
  const count = top.math("Maximum", top.math("Sub", top.long(0), whole), top.long(0));
  const at = (block: Block, index: Value): Value[] => {
    const offset = block.math("Mul", index, block.global(step));
    return [block.cast(block.math("AddV2", block.global(start), offset), dtypes[0]!)];
  };
  return { count, dtypes, shapes: [[]], at };
}

function batches({ node, top, input, value }: Source): Indexed | undefined {
  const source = input(0);
  if (!source) return undefined;
  const size = value(1, "int64");
  const one = top.long(1);
  // A rest that is no whole batch counts, unless it is dropped.
  const more = top.math("Sub", size, one);
  const rounded = node.op === "BatchDataset" ? more : top.select(value(2, "bool"), top.math("Sub", one, one), more);
  return {
    count: top.math("FloorDiv", top.math("AddV2", source.count, rounded), size),
    dtypes: source.dtypes,
    shapes: node.attrs.shapes("output_shapes"),
    at(block, index) {
      const start = block.math("Mul", index, block.global(size));
      const full = block.math("AddV2", start, block.global(size));
      return stacked(source, block, start, block.math("Minimum", full, block.global(source.count)));
    },
  };
}

/** Elements of a dataset from `start` to `end`, stacked. */
function stacked(source: Indexed, block: Block, start: Value, end: Value): readonly Value[] {
  if (source.slice) return source.slice(block, start, end);
  const count = block.math("Sub", end, start);
  const shapes = source.shapes.map((shape) => block.constant(shapeTensor(shape)));
  const lists = source.dtypes.map((dtype, i) => {
    const attrs = { element_dtype: dtype, shape_type: "int32" };
    return block.add("TensorListReserve", "variant", [shapes[i]!, block.cast(count, "int32")], attrs);
  });
  const filled = block.loop(
    count,
    lists,
    lists.map(() => []),
    [],
    (body, index, state) => {
      const items = source.at(body, body.math("AddV2", index, body.outside(start)));
      const at = body.cast(index, "int32");
      return items.map((item, i) =>
        body.add("TensorListSetItem", "variant", [state[i]!, at, item], { element_dtype: item.dtype }),
      );
    },
  );
  return source.dtypes.map((dtype, i) =>
    block.add("TensorListStack", dtype, [filled[i]!, shapes[i]!], { element_dtype: dtype, num_elements: -1 }),
  );
}

function shapeTensor(shape: Shape) {
  return shape ? tensor("int32", [shape.length], Int32Array.from(shape)) : scalar("int32", -1);
}

function mapped({ node, input, value }: Source): Indexed | undefined {
  const source = input(0);
  if (!source) return undefined;
  const f = node.attrs.func("f");
  const others = node.attrs.dtypes("Targuments").map((dtype, i) => value(1 + i, dtype));
  const dtypes = node.attrs.dtypes("output_types");
  return {
    count: source.count,
    dtypes,
    shapes: node.attrs.shapes("output_shapes"),
    at: (block, index) =>
      block.call(f, [...source.at(block, index), ...others.map((other) => block.global(other))], dtypes),
  };
}

function taken({ top, input, value }: Source): Indexed | undefined {
  const source = input(0);
  if (!source) return undefined;
  const wanted = value(1, "int64");
  const isAll = top.compare("Less", wanted, top.long(0));
  const count = top.select(isAll, source.count, top.math("Minimum", wanted, source.count));
  return { ...source, count };
}

function skipped({ top, input, value }: Source): Indexed | undefined {
  const source = input(0);
  if (!source) return undefined;
  const wanted = value(1, "int64");
  const isAll = top.compare("Less", wanted, top.long(0));
  const dropped = top.select(isAll, source.count, top.math("Minimum", wanted, source.count));
  const shift = (block: Block, index: Value): Value => block.math("AddV2", index, block.global(dropped));
  const { slice } = source;
  return {
    ...source,
    count: top.math("Sub", source.count, dropped),
    at: (block, index) => source.at(block, shift(block, index)),
    ...(slice && { slice: (block, start, end) => slice(block, shift(block, start), shift(block, end)) }),
  };
}

function zipped({ node, top, input }: Source): Indexed | undefined {
  const sources = node.inputs.map((_, i) => input(i));
  if (!sources.every((source) => source !== undefined)) return undefined;
  return {
    count: sources.map(({ count }) => count).reduce((a, b) => top.math("Minimum", a, b)),
    dtypes: sources.flatMap(({ dtypes }) => dtypes),
    shapes: sources.flatMap(({ shapes }) => shapes),
    at: (block, index) => sources.flatMap((source) => source.at(block, index)),
    slice: (block, start, end) => sources.flatMap((source) => stacked(source, block, start, end)),
  };
}
