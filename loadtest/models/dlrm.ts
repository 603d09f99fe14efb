/**
 * A DLRM with synthetic weights, made without TensorFlow, of any size: the model of Naumov et al. (arXiv:1906.00091) as
 * facebookresearch/dlrm builds it. One categorical feature per table, one id each:
 *
 *   dense [n, 13] -> bottom MLP (ReLU) -> [n, dim] --+
 *   sparse [n, tables] -> one row per table ---------+-> dot products of all pairs, beside the bottom's output
 *                                                        -> top MLP (ReLU, the last layer sigmoid) -> prediction [n, 1]
 */
import { invariant, type Progress, seededRandom, silentProgress } from "@shardserve/core";
import { attr, GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";
import { bytesOf, tensor } from "@shardserve/tensor";

/** Cardinalities of Criteo's Kaggle data set, 33.8 million rows (facebookresearch/dlrm, bench/dlrm_s_criteo_kaggle.sh). */
export const CRITEO_KAGGLE_ROWS: readonly number[] = [
  1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992, 5461306, 10, 5652, 2173,
  4, 7046547, 18, 15, 286181, 105, 142572,
];

const SMALL_ROWS = 1000;

/** Criteo's tables, the large ones scaled so that all take about `totalBytes` as float32; small ones keep their rows. */
export function criteoKaggleRows(totalBytes: number, dim: number): number[] {
  const small = CRITEO_KAGGLE_ROWS.filter((rows) => rows <= SMALL_ROWS).reduce((sum, rows) => sum + rows, 0);
  const large = CRITEO_KAGGLE_ROWS.reduce((sum, rows) => sum + rows, 0) - small;
  const scale = Math.max(0, totalBytes / (4 * dim) - small) / large;
  return CRITEO_KAGGLE_ROWS.map((rows) => (rows <= SMALL_ROWS ? rows : Math.max(SMALL_ROWS, Math.round(rows * scale))));
}

export interface DlrmOptions {
  /** Rows of each table. */
  readonly tables: readonly number[];
  /** Elements of a row, also the width of the bottom MLP's output. */
  readonly dim: number;
  /** Default 13, Criteo's. */
  readonly denseFeatures?: number;
  /** Widths of the bottom MLP's hidden layers, before its output of `dim`; default 512, 256, 64. */
  readonly bottom?: readonly number[];
  /** Widths of the top MLP's hidden layers, before its one output; default 512, 256. */
  readonly top?: readonly number[];
  readonly seed?: number;
  /** Tables above this many bytes are stored as several slices, as TensorFlow's partitioners do; default: none are. */
  readonly maxTableBytes?: number;
  /** Number of data files of the checkpoint, default 1. */
  readonly shardCount?: number;
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
}

/** What was written: keys of the tables in the order of the sparse columns, and bytes of all variables. */
export interface DlrmModel {
  readonly tableKeys: readonly string[];
  readonly bytes: number;
}

/** Checkpoint key of table `i`, also its variable's name. */
export function dlrmTableKey(table: number): string {
  return `tables/t${String(table).padStart(2, "0")}/embeddings`;
}

/**
 * Writes the SavedModel to `dir`, a version directory. Signature `serving_default`: `dense` float32 [n, denseFeatures],
 * `sparse` int64 [n, tables] -> `prediction` float32 [n, 1]. Memory: some 10 MiB, whatever the size.
 *
 * @throws ServingError OUTPUT_EXISTS, DISK_FULL
 */
export async function writeDlrm(dir: string, options: DlrmOptions): Promise<DlrmModel> {
  const { tables, dim, denseFeatures = 13, bottom = [512, 256, 64], top = [512, 256], seed = 1 } = options;
  const graph = new GraphBuilder();
  const layers: Layer[] = [];
  const dense = graph.placeholder("dense", "float32", [-1, denseFeatures]);
  const sparse = graph.placeholder("sparse", "int64", [-1, tables.length]);
  const bottomOut = mlp(graph, layers, "bottom", dense, [denseFeatures, ...bottom, dim], "Relu");
  const ids = graph.node("Unpack", [sparse], {
    name: "ids",
    attrs: { T: attr.type("int64"), num: attr.int(tables.length), axis: attr.int(1) },
  });
  const rows = tables.map((count, i) => {
    const handle = graph.variable(dlrmTableKey(i), "float32", [count, dim]);
    return graph.gather(handle, i === 0 ? ids : `${ids}:${i}`, "float32", "int64");
  });
  const pairs = interact(graph, [bottomOut, ...rows], dim);
  const pairCount = ((tables.length + 1) * tables.length) / 2;
  const joined = graph.node("ConcatV2", [bottomOut, pairs, graph.constant(tensor("int32", [], Int32Array.of(1)))], {
    attrs: { T: attr.type("float32"), N: attr.int(2), Tidx: attr.type("int32") },
  });
  const prediction = mlp(graph, layers, "top", joined, [dim + pairCount, ...top, 1], "Sigmoid");
  const signature = predictSignature(
    {
      dense: { ref: dense, dtype: "float32", shape: [-1, denseFeatures] },
      sparse: { ref: sparse, dtype: "int64", shape: [-1, tables.length] },
    },
    { prediction: { ref: prediction, dtype: "float32", shape: [-1, 1] } },
  );
  const bytes =
    4 *
    (tables.reduce((sum, count) => sum + count * dim, 0) +
      layers.reduce((sum, layer) => sum + layer.inputs * layer.outputs + layer.outputs, 0));
  const task = (options.progress ?? silentProgress).task("writing DLRM", bytes, "bytes");
  await writeSavedModel(dir, graph.savedModel({ serving_default: signature }), {
    ...(options.shardCount !== undefined && { bundle: { shardCount: options.shardCount } }),
    variables: async (writer) => {
      const add = {
        onBytes: (count: number) => task.advance(count),
        ...(options.signal && { signal: options.signal }),
      };
      for (const [i, layer] of layers.entries()) {
        const [kernel, bias] = layerWeights(layer, seed + i);
        await writer.add(`${layer.name}/kernel`, "float32", [layer.inputs, layer.outputs], bytesOf(kernel), add);
        await writer.add(`${layer.name}/bias`, "float32", [layer.outputs], bytesOf(bias), add);
      }
      const weights = new SyntheticRows(dim, seed);
      for (const [i, count] of tables.entries()) {
        const rowsPerSlice = Math.max(1, Math.floor((options.maxTableBytes ?? Infinity) / (4 * dim)));
        if (count <= rowsPerSlice) {
          await writer.add(dlrmTableKey(i), "float32", [count, dim], weights.rows(i, 0, count), add);
          continue;
        }
        for (let start = 0; start < count; start += rowsPerSlice) {
          const end = Math.min(count, start + rowsPerSlice);
          const slice = { start: [start, 0], shape: [end - start, dim] };
          await writer.addSlice(dlrmTableKey(i), "float32", [count, dim], slice, weights.rows(i, start, end), add);
        }
      }
    },
  });
  task.done();
  return { tableKeys: tables.map((_, i) => dlrmTableKey(i)), bytes };
}

interface Layer {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** Fully connected layers of the given widths, ReLU between them. */
function mlp(
  graph: GraphBuilder,
  layers: Layer[],
  scope: string,
  input: string,
  widths: readonly number[],
  last: "Relu" | "Sigmoid",
): string {
  const T = attr.type("float32");
  let value = input;
  for (let i = 1; i < widths.length; i++) {
    const layer = { name: `${scope}/layer${i}`, inputs: widths[i - 1]!, outputs: widths[i]! };
    layers.push(layer);
    const kernel = graph.variable(`${layer.name}/kernel`, "float32", [layer.inputs, layer.outputs]);
    const bias = graph.variable(`${layer.name}/bias`, "float32", [layer.outputs]);
    const product = graph.node("MatMul", [value, graph.read(kernel, "float32")], {
      name: `${layer.name}/MatMul`,
      attrs: { T },
    });
    const sum = graph.node("BiasAdd", [product, graph.read(bias, "float32")], {
      name: `${layer.name}/BiasAdd`,
      attrs: { T },
    });
    const op = i === widths.length - 1 ? last : "Relu";
    value = graph.node(op, [sum], { name: `${layer.name}/${op}`, attrs: { T } });
  }
  return value;
}

/** Dot products of all pairs of vectors [n, dim], without those of a vector with itself: [n, pairs]. */
function interact(graph: GraphBuilder, vectors: readonly string[], dim: number): string {
  const count = vectors.length;
  const T = attr.type("float32");
  const stacked = graph.node("Pack", vectors, {
    name: "interact/stack",
    attrs: { T, N: attr.int(count), axis: attr.int(1) },
  });
  invariant(dim > 0, "rows need elements");
  const products = graph.node("BatchMatMulV2", [stacked, stacked], {
    name: "interact/products",
    attrs: { T, adj_x: attr.bool(false), adj_y: attr.bool(true) },
  });
  const shape = graph.constant(tensor("int32", [2], Int32Array.of(-1, count * count)), "interact/shape");
  const flat = graph.node("Reshape", [products, shape], {
    name: "interact/flat",
    attrs: { T, Tshape: attr.type("int32") },
  });
  const below: number[] = [];
  for (let i = 0; i < count; i++) for (let k = 0; k < i; k++) below.push(i * count + k);
  const indices = graph.constant(tensor("int32", [below.length], Int32Array.from(below)), "interact/below_diagonal");
  const axis = graph.constant(tensor("int32", [], Int32Array.of(1)), "interact/axis");
  return graph.node("GatherV2", [flat, indices, axis], {
    name: "interact/pairs",
    attrs: { Tparams: T, Tindices: attr.type("int32"), Taxis: attr.type("int32"), batch_dims: attr.int(0) },
  });
}

/** Uniform weights of Glorot's width, and small biases. */
function layerWeights(layer: Layer, seed: number): [kernel: Float32Array, bias: Float32Array] {
  const random = seededRandom(seed);
  const width = Math.sqrt(6 / (layer.inputs + layer.outputs));
  const uniform = (count: number, scale: number) =>
    Float32Array.from({ length: count }, () => (2 * random.next() - 1) * scale);
  return [uniform(layer.inputs * layer.outputs, width), uniform(layer.outputs, 0.1)];
}

const CHUNK_BYTES = 4 * 2 ** 20;
const STAMP_PERIOD = 2 ** 20;

/**
 * Rows at the speed of memory: a chunk is a piece of one pseudo-random block, at a place that depends on table and chunk.
 * The first element of a row then tells its id, modulo 2^20, so that a wrong row is noticed.
 */
class SyntheticRows {
  readonly #dim: number;
  readonly #block: Float32Array;
  readonly #out: Float32Array;
  readonly #rowsPerChunk: number;

  constructor(dim: number, seed: number) {
    this.#dim = dim;
    this.#rowsPerChunk = Math.max(1, Math.floor(CHUNK_BYTES / (4 * dim)));
    this.#out = new Float32Array(this.#rowsPerChunk * dim);
    const random = seededRandom(seed);
    this.#block = Float32Array.from({ length: this.#out.length }, () => (random.next() - 0.5) / 4);
    const doubled = new Float32Array(2 * this.#block.length);
    doubled.set(this.#block);
    doubled.set(this.#block, this.#block.length);
    this.#block = doubled;
  }

  /** Bytes of rows [start, end) of a table; the same whatever the range they are asked for in. */
  *rows(table: number, start: number, end: number): Generator<Uint8Array> {
    const dim = this.#dim;
    for (let row = start; row < end; ) {
      const chunk = Math.floor(row / this.#rowsPerChunk);
      const chunkStart = chunk * this.#rowsPerChunk;
      const chunkEnd = Math.min(end, chunkStart + this.#rowsPerChunk);
      const place = Math.imul(table + 1, 0x9e3779b1) ^ Math.imul(chunk + 1, 0x85ebca6b);
      const from = ((place >>> 0) % this.#out.length) + (row - chunkStart) * dim;
      const out = this.#out.subarray(0, (chunkEnd - row) * dim);
      out.set(this.#block.subarray(from, from + out.length));
      for (let i = 0, id = row; id < chunkEnd; i += dim, id++) out[i] = ((id % STAMP_PERIOD) / STAMP_PERIOD - 0.5) / 4;
      yield bytesOf(out);
      row = chunkEnd;
    }
  }
}
