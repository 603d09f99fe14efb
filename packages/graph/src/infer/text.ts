import type { Shape } from "../ir/attrs.js";
import {
  broadcastAll,
  each,
  fixed,
  knownScalar,
  repeat,
  same,
  type ShapeCall,
  type ShapeFunction,
  shapeFromValue,
  UNKNOWN,
  unknowns,
} from "./shapes.js";

/** Shapes of strings, lookup tables, sparse and ragged tensors, tf.Example parsing and tree models. */
export const TEXT_SHAPES: Readonly<Record<string, ShapeFunction>> = {
  ...each(
    `AsString StringToNumber StringToHashBucket StringToHashBucketFast StringToHashBucketStrong StringLower StringUpper StringStrip
     StringLength RegexReplace RegexFullMatch StaticRegexReplace StaticRegexFullMatch EncodeBase64 DecodeBase64
     UnicodeTranscode UnicodeScript DecodeCompressed SparseReorderValues
     NormalizeUTF8 CaseFoldUTF8`,
    same(),
  ),
  Substr: (call) => [broadcastAll([call.shape(0), call.shape(1)])],
  StringJoin: (call) => [broadcastScalars(call.inputs.map((info) => info.shape))],
  StringFormat: () => [[]],
  ReduceJoin: (call) => [call.attrs.bool("keep_dims") ? call.shape(0) && unknowns(call.shape(0)!.length) : undefined],
  Fingerprint: (call) => [[call.shape(0)?.[0] ?? UNKNOWN, UNKNOWN]],
  DecodeRaw: (call) => [call.shape(0) && [...call.shape(0)!, UNKNOWN]],
  DecodeProtoV2: (call) => {
    const [shape, count] = [call.shape(0), call.attrs.texts("field_names").length];
    return [shape && [...shape, count], ...repeat<Shape>(shape && [...shape, UNKNOWN], count)];
  },
  ...each("GatherTree Addons>GatherTree", same()),
  StringSplit: fixed([UNKNOWN, 2], [UNKNOWN], [2]),
  StringSplitV2: fixed([UNKNOWN, 2], [UNKNOWN], [2]),
  StringNGrams: fixed([UNKNOWN], [UNKNOWN]),
  ...each(
    `RegexSplitWithOffsets TFText>WhitespaceTokenizeWithOffsetsV2 TFText>ByteSplitWithOffsets
     WordpieceTokenizeWithOffsets`,
    fixed([UNKNOWN], [UNKNOWN], [UNKNOWN], [UNKNOWN]),
  ),
  ...each("WhitespaceTokenizeWithOffsets UnicodeScriptTokenizeWithOffsets", (call) => [
    ...repeat<Shape>([UNKNOWN], 4),
    call.shape(1),
  ]),
  SentencepieceTokenizeOp: fixed([UNKNOWN], [UNKNOWN]),
  SentencepieceTokenizeWithOffsetsOp: fixed([UNKNOWN], [UNKNOWN], [UNKNOWN], [UNKNOWN]),
  SentencepieceDetokenizeOp: fixed([UNKNOWN]),
  ...each("SentencepieceIdToStringOp SentencepieceStringToIdOp", (call) => [call.shape(1)]),
  FastBertNormalize: (call) => [call.shape(0), [UNKNOWN], [UNKNOWN]],
  FastWordpieceTokenizeWithOffsets: fixed([UNKNOWN], [UNKNOWN], [UNKNOWN], [UNKNOWN], [UNKNOWN]),
  "TFText>FastWordpieceDetokenize": fixed([UNKNOWN]),
  "TFText>ByteSplitByOffsets": (call) => [[UNKNOWN], call.shape(3)],
  "TFText>NgramsStringJoin": (call) => {
    const splits = call.inputs.slice(1).map(({ shape }) => shape);
    return splits.length > 0 ? [[UNKNOWN], ...splits] : [call.shape(0) && [...call.shape(0)!.slice(0, -1), UNKNOWN]];
  },
  "TFText>RoundRobinTrim": (call) => {
    const count = call.attrs.int("N");
    return [...repeat<Shape>([UNKNOWN], count), ...call.inputs.slice(1 + count).map(({ shape }) => shape)];
  },
  "TFText>RoundRobinGenerateMasks": (call) => call.inputs.slice(1, 1 + call.attrs.int("N")).map(({ shape }) => shape),
  UnicodeDecode: fixed([UNKNOWN], [UNKNOWN]),
  UnicodeDecodeWithOffsets: fixed([UNKNOWN], [UNKNOWN], [UNKNOWN]),
  // Handles are scalars.
  ...each(
    `HashTable HashTableV2 MutableHashTable MutableHashTableV2 MutableDenseHashTableV2 VarHandleOp AnonymousHashTable
     SentencepieceOp SentencepieceVocabSizeOp SimpleMLCreateModelResource`,
    () => [[]],
  ),
  LookupTableFind: (call) => [tableFind(call)],
  LookupTableFindV2: (call) => [tableFind(call)],
  ...each("LookupTableExport LookupTableExportV2", () => [[UNKNOWN], undefined]),
  ParseExample: (call) => parseExample(call),
  ParseExampleV2: (call) => parseExampleV2(call),
  ParseSingleExample: (call) => parseSingleExample(call),
  SparseToDense: (call) => [shapeFromValue(call.value(1), call.shape(1))],
  SparseReorder: (call) => [call.shape(0), call.shape(1)],
  SparseReshape: (call) => [
    [call.shape(0)?.[0] ?? UNKNOWN, call.shape(2)?.[0] ?? UNKNOWN],
    [call.shape(2)?.[0] ?? UNKNOWN],
  ],
  SparseFillEmptyRows: (call) => [
    [UNKNOWN, call.shape(2)?.[0] ?? UNKNOWN],
    [UNKNOWN],
    [(call.value(2)?.values[0] ?? UNKNOWN) as number],
    [UNKNOWN],
  ],
  BoundedIds: (call) => [call.shape(0), call.shape(0)],
  FilledIds: (call) => [[UNKNOWN], [UNKNOWN], [(call.value(2)?.values[0] ?? UNKNOWN) as number]],
  PooledLookup: (call) => [[UNKNOWN, ...(call.shape(0)?.slice(1) ?? [UNKNOWN])]],
  PresentElements: (call) => [[UNKNOWN, call.shape(0)?.length ?? UNKNOWN], [UNKNOWN]],
  SparseConcat: (call) => {
    const rank = call.inputs.map((info) => info.shape?.[1] ?? UNKNOWN).find((dim) => dim !== UNKNOWN) ?? UNKNOWN;
    return [[UNKNOWN, rank], [UNKNOWN], [rank]];
  },
  SparseSlice: (call) => [[UNKNOWN, call.shape(0)?.[1] ?? UNKNOWN], [UNKNOWN], call.shape(2)],
  SparseTensorDenseMatMul: (call) => [sparseMatMul(call)],
  SparseReduceSum: () => [undefined],
  ...each(
    "SparseCross SparseCrossV2 SparseCrossHashed SparseFeatureCross SparseFeatureCrossV2",
    fixed([UNKNOWN, 2], [UNKNOWN], [2]),
  ),
  ...each("DenseToSparseSetOperation DenseToDenseSetOperation SparseToSparseSetOperation", (call) => {
    const rank = call.shape(0)?.length ?? UNKNOWN;
    return [[UNKNOWN, rank], [UNKNOWN], [rank]];
  }),
  RaggedRange: fixed([UNKNOWN], [UNKNOWN]),
  RaggedTensorToTensor: (call) => [raggedToTensor(call)],
  RaggedTensorToVariant: (call) => [raggedToVariant(call)],
  RaggedTensorFromVariant: (call) => [...repeat([UNKNOWN], call.attrs.int("output_ragged_rank")), undefined],
  RaggedTensorToSparse: (call) => raggedToSparse(call),
  RaggedGather: (call) => raggedGather(call),
  BoostedTreesPredict: (call) => [[call.shape(1)?.[0] ?? UNKNOWN, call.attrs.int("logits_dimension")]],
  SimpleMLInferenceOpWithHandle: (call) => {
    const width = call.attrs.int("dense_output_dim");
    return [[UNKNOWN, width], [width]];
  },
  BoostedTreesBucketize: (call) => {
    const count = call.attrs.int("num_features");
    return call.inputs.slice(0, count).map((info) => info.shape);
  },
};

/** One index for each list of splits, and for each dimension of the values. */
function raggedToSparse(call: ShapeCall): Shape[] {
  const values = call.shape(call.inputs.length - 1);
  const rank = values ? call.inputs.length - 1 + values.length : UNKNOWN;
  return [[UNKNOWN, rank], [UNKNOWN], [rank]];
}

/** Scalars join with anything; the rest agree. */
function broadcastScalars(shapes: readonly Shape[]): Shape {
  if (shapes.some((shape) => shape === undefined)) return undefined;
  const rest = shapes.filter((shape) => shape!.length > 0);
  return rest.length === 0 ? [] : broadcastAll(rest);
}

/** Keys of the shape of the values, which are scalars but for dense tables with vector values. */
function tableFind(call: ShapeCall): Shape {
  const [keys, fallback] = [call.shape(1), call.shape(2)];
  return keys && fallback ? [...keys, ...fallback] : keys;
}

/** Sparse indices, values and shapes, then dense values. */
function parsed(batch: Shape, sparse: number, dense: readonly Shape[], ragged = 0): Shape[] {
  const many = (count: number, shape: Shape): Shape[] => repeat<Shape>(shape, count);
  const rank = batch?.length;
  return [
    ...many(sparse, [UNKNOWN, rank === undefined ? UNKNOWN : rank + 1]),
    ...many(sparse, [UNKNOWN]),
    ...many(sparse, [rank === undefined ? UNKNOWN : rank + 1]),
    ...dense.map((shape) => (batch && shape ? [...batch, ...shape] : undefined)),
    ...many(ragged, [UNKNOWN]),
    ...many(ragged, [UNKNOWN]),
  ];
}

/** ParseExample takes a vector of serialised examples and nothing else. */
function parseExample(call: ShapeCall): Shape[] {
  const batch = [call.shape(0)?.[0] ?? UNKNOWN];
  return parsed(batch, call.attrs.int("Nsparse"), call.attrs.shapes("dense_shapes"));
}

function parseExampleV2(call: ShapeCall): Shape[] {
  const ragged = call.attrs.dtypes("ragged_value_types").length;
  return parsed(call.shape(0), call.attrs.int("num_sparse"), call.attrs.shapes("dense_shapes"), ragged);
}

function parseSingleExample(call: ShapeCall): Shape[] {
  return parsed([], call.attrs.int("num_sparse"), call.attrs.shapes("dense_shapes"));
}

function sparseMatMul(call: ShapeCall): Shape {
  const rows = call.value(2)?.values[call.attrs.bool("adjoint_a") ? 1 : 0] ?? UNKNOWN;
  return [rows, call.shape(3)?.[call.attrs.bool("adjoint_b") ? 0 : 1] ?? UNKNOWN];
}

/** shape, values, default_value, row partition tensors: as many ragged dimensions as partitions. */
function raggedToTensor(call: ShapeCall): Shape {
  const types = call.attrs.texts("row_partition_types");
  const ragged = types[0] === "FIRST_DIM_SIZE" ? types.length - 1 : types.length;
  const values = call.shape(1);
  const wanted = shapeFromValue(call.value(0), call.shape(0));
  const rank = values === undefined ? wanted?.length : values.length + ragged;
  if (rank === undefined) return undefined;
  const known = [...unknowns(ragged + 1), ...(values?.slice(1) ?? [])].slice(0, rank);
  const first = types[0] === "FIRST_DIM_SIZE" ? knownScalar(call.value(3)) : undefined;
  // What is asked for counts more than what there is.
  const asked = call.value(0)?.values;
  if (first !== undefined && asked?.every((dim) => dim !== undefined)) known[0] = first;
  return wanted?.length === rank ? wanted.map((dim, i) => (dim === UNKNOWN ? known[i]! : dim)) : known;
}

function raggedGather(call: ShapeCall): Shape[] {
  const splits = call.attrs.int("OUTPUT_RAGGED_RANK");
  const values = call.shape(call.attrs.int("PARAMS_RAGGED_RANK"));
  return [...repeat<Shape>([UNKNOWN], splits), values && [UNKNOWN, ...values.slice(1)]];
}

/** A scalar, or one element for each row of the outermost dim. */
function raggedToVariant(call: ShapeCall): Shape {
  if (!call.attrs.bool("batched_input")) return [];
  const first = call.shape(0)?.[0] ?? UNKNOWN;
  const hasSplits = call.attrs.int("RAGGED_RANK") > 0;
  return [hasSplits && first !== UNKNOWN ? first - 1 : first];
}
