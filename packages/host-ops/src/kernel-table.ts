import {
  type GraphNode,
  type HostKernel,
  isTensor,
  type KernelCall,
  type KernelTable,
  type NodeContext,
} from "@shardserve/graph";
import { BOUNDED_IDS_KERNELS } from "./arrays/bounded-ids.js";
import { GATHER_KERNELS } from "./arrays/array-gather.js";
import { SCATTER_KERNELS } from "./arrays/array-scatter.js";
import { JOIN_KERNELS } from "./arrays/array-join.js";
import { INDEX_ARITHMETIC_KERNELS } from "./arrays/index-arithmetic.js";
import { SLICE_UPDATE_KERNELS } from "./arrays/slice-update.js";
import { PAD_KERNELS } from "./arrays/array-pad.js";
import { SHAPE_KERNELS } from "./arrays/array-shape.js";
import { SLICE_KERNELS } from "./arrays/array-slice.js";
import { DATA_FORMAT_KERNELS } from "./arrays/data-format.js";
import { INPLACE_KERNELS } from "./arrays/inplace.js";
import { WINDOW_UPDATE_KERNELS } from "./arrays/window-update.js";
import { SERIALIZED_KERNELS } from "./arrays/serialized.js";
import { UNIQUE_KERNELS } from "./arrays/unique.js";
import { isComplex, isFloating } from "./call/numeric.js";
import { type Kernel, OpCall } from "./call/op-call.js";
import { PROTO_KERNELS } from "./examples/decode-proto.js";
import { EXAMPLE_JSON_KERNELS } from "./examples/example-json.js";
import { PARSE_KERNELS } from "./examples/parse-example.js";
import { SEQUENCE_KERNELS } from "./examples/parse-sequence.js";
import { supportsProto } from "./examples/proto-fields.js";
import { DECISION_FOREST_KERNELS } from "./forests/decision-forests.js";
import { COLOUR_KERNELS } from "./images/colour.js";
import { DETECTION_KERNELS } from "./images/detection.js";
import { DRAWING_KERNELS } from "./images/drawing.js";
import { FILTER_GRADIENT_KERNELS } from "./images/filter-gradients.js";
import { FRACTIONAL_POOL_KERNELS } from "./images/fractional-pool.js";
import { GLIMPSE_KERNELS } from "./images/glimpses.js";
import { IMAGE_ENCODE_KERNELS } from "./image-files/image-encode.js";
import { RESAMPLE_GRADIENT_KERNELS } from "./images/resample-gradients.js";
import { RESAMPLE_KERNELS } from "./images/image-resample.js";
import { IMAGE_KERNELS } from "./image-files/images.js";
import { WINDOW_KERNELS } from "./images/windows.js";
import { CROSS_PRODUCT_KERNELS } from "./linalg/cross.js";
import { EIG_KERNELS } from "./linalg/eig.js";
import { MATRIX_FUNCTION_KERNELS } from "./linalg/matrix-functions.js";
import { MATRIX_PART_KERNELS } from "./linalg/matrix-parts.js";
import { MATRIX_SOLVE_KERNELS } from "./linalg/matrix-solve.js";
import { NEAREST_KERNELS } from "./linalg/nearest.js";
import { QR_KERNELS } from "./linalg/qr.js";
import { SELF_ADJOINT_KERNELS } from "./linalg/self-adjoint.js";
import { SINGULAR_KERNELS } from "./linalg/singular.js";
import { TRIANGLE_KERNELS } from "./linalg/triangles.js";
import { TRIDIAGONAL_KERNELS } from "./linalg/tridiagonal.js";
import { ARITHMETIC_KERNELS } from "./math/arithmetic.js";
import { BIAS_KERNELS } from "./math/bias-add.js";
import { CAST_KERNELS } from "./math/cast.js";
import { COMPARE_KERNELS } from "./math/compare.js";
import { COMPLEX_MATH } from "./complex/complex-math.js";
import { COMPLEX_KERNELS } from "./complex/complex-kernels.js";
import { COMPLEX_ONLY_KERNELS } from "./complex/complex-products.js";
import { COUNT_KERNELS } from "./math/counts.js";
import { EINSUM_KERNELS } from "./math/einsum.js";
import { GENERATE_KERNELS } from "./math/generate.js";
import { GRADIENT_KERNELS } from "./gradients/gradients.js";
import { ISOTONIC_KERNELS } from "./math/isotonic.js";
import { CLAMPED_GRADIENT_KERNELS } from "./gradients/clamped-gradients.js";
import { LOOKUP_GRADIENT_KERNELS } from "./gradients/lookup-gradients.js";
import { LAYER_GRADIENT_KERNELS } from "./gradients/layer-gradients.js";
import { ACTIVATION_KERNELS } from "./math/activations.js";
import { BITS_KERNELS } from "./math/bits.js";
import { COMPLEX_PARTS_KERNELS } from "./complex/complex-parts.js";
import { IN_TOP_K_KERNELS } from "./math/in-top-k.js";
import { SPECIAL_KERNELS } from "./math/special-kernels.js";
import { QUANTIZE_KERNELS } from "./math/quantize.js";
import { QUANTIZE_AGAIN_KERNELS } from "./math/quantize-again.js";
import { REDUCE_KERNELS } from "./math/reduce.js";
import { BIN_KERNELS } from "./math/bins.js";
import { SEARCH_KERNELS } from "./math/search.js";
import { SEGMENT_KERNELS } from "./math/segments.js";
import { UNARY_KERNELS } from "./math/unary.js";
import { BEAM_SEARCH_KERNELS } from "./models/beam-search.js";
import { BOOSTED_TREES_KERNELS } from "./models/boosted-trees.js";
import { CTC_LOSS_KERNELS } from "./models/ctc-loss.js";
import { CTC_KERNELS } from "./models/ctc.js";
import { RECURRENT_KERNELS } from "./models/recurrent.js";
import { RANGED_ELEMENT_KERNELS } from "./quantized/ranged-elements.js";
import { RANGED_LAYER_KERNELS } from "./quantized/ranged-layers.js";
import { UNIFORM_ELEMENT_KERNELS } from "./quantized/uniform-elements.js";
import { UNIFORM_PRODUCT_KERNELS } from "./quantized/uniform-products.js";
import { RAGGED_KERNELS } from "./ragged/ragged.js";
import { RAGGED_SPARSE_KERNELS } from "./ragged/ragged-sparse.js";
import { RAGGED_VARIANT_KERNELS } from "./ragged/ragged-variant.js";
import { BINOMIAL_KERNELS } from "./random/binomial.js";
import { CANDIDATE_KERNELS } from "./random/candidates.js";
import { GENERATOR_KERNELS } from "./random/generators.js";
import { RANDOM_KERNELS } from "./random/random.js";
import { INDEX_SHUFFLE_KERNELS } from "./random/index-shuffle.js";
import { RANDOM_CROP_KERNELS } from "./random/random-crop.js";
import { RANDOM_RATE_KERNELS } from "./random/random-rates.js";
import { TRUNCATED_NORMAL_KERNELS } from "./random/truncated-normal.js";
import { AUDIO_KERNELS } from "./signal/audio.js";
import { FFT_KERNELS } from "./signal/fft.js";
import { CSR_KERNELS } from "./sparse/csr-matrix.js";
import { CSR_PRODUCT_KERNELS } from "./sparse/csr-products.js";
import { FILLED_IDS_KERNELS } from "./sparse/filled-ids.js";
import { POOLED_LOOKUP_KERNELS } from "./sparse/pooled-lookup.js";
import { PRESENT_ELEMENTS_KERNELS } from "./sparse/present-elements.js";
import { SET_KERNELS } from "./sparse/sets.js";
import { SPARSE_KERNELS } from "./sparse/sparse.js";
import { CROSS_KERNELS } from "./sparse/sparse-cross.js";
import { SPARSE_DENSE_KERNELS } from "./sparse/sparse-dense.js";
import { SPARSE_MATH_KERNELS } from "./sparse/sparse-math.js";
import { SPARSE_SERIALIZED_KERNELS } from "./sparse/sparse-serialized.js";
import { OPTIMIZER_KERNELS } from "./state/optimizers.js";
import { OPTIONAL_KERNELS } from "./state/optional.js";
import { ARRAY_KERNELS } from "./state/tensor-array.js";
import { LIST_KERNELS } from "./state/tensor-list.js";
import { UNFED_KERNELS } from "./state/unfed.js";
import { VARIABLE_SCATTER_KERNELS } from "./state/variable-scatter.js";
import { VARIABLE_KERNELS } from "./state/variables.js";
import { VARIANT_SUMS } from "./state/variant-sums.js";
import { EDIT_DISTANCE_KERNELS } from "./strings/edit-distance.js";
import { READ_FILE_KERNELS } from "./strings/read-file.js";
import { STRING_CODE_KERNELS } from "./strings/string-code.js";
import { STRING_EDIT_KERNELS } from "./strings/string-edit.js";
import { STRING_FORMAT_KERNELS } from "./strings/string-format.js";
import { STRING_HASH_KERNELS } from "./strings/string-hash.js";
import { STRING_NGRAM_KERNELS } from "./strings/string-ngrams.js";
import { STRING_NUMBER_KERNELS } from "./strings/string-numbers.js";
import { STRING_REGEX_KERNELS } from "./strings/string-regex.js";
import { STRING_SPLIT_KERNELS } from "./strings/string-split.js";
import { isDecodable, isEncodable, UNICODE_KERNELS } from "./strings/unicode.js";
import { SCRIPT_KERNELS } from "./strings/unicode-script.js";
import { TABLE_KERNELS } from "./tables/tables.js";
import { BYTE_SPLIT_KERNELS } from "./text/byte-split.js";
import { FAST_BERT_KERNELS } from "./text/fast-bert-normalize.js";
import { FAST_WORDPIECE_KERNELS } from "./text/fast-wordpiece.js";
import { REGEX_SPLIT_KERNELS } from "./text/regex-split.js";
import { SENTENCEPIECE_KERNELS } from "./text/sentencepiece.js";
import { TEXT_NGRAM_KERNELS } from "./text/text-ngrams.js";
import { TEXT_NORMALIZE_KERNELS } from "./text/text-normalize.js";
import { TEXT_TOKENIZE_KERNELS } from "./text/text-tokenize.js";
import { TEXT_TRIM_KERNELS } from "./text/text-trim.js";
import { WORDPIECE_KERNELS } from "./text/wordpiece.js";

type Family = Readonly<Record<string, Kernel>>;

/** Families that take any dtype that TensorFlow lets them have: most only move elements, or look at strings. */
const ANY_DTYPE: readonly Family[] = [
  SHAPE_KERNELS,
  SLICE_KERNELS,
  PAD_KERNELS,
  JOIN_KERNELS,
  CAST_KERNELS,
  STRING_EDIT_KERNELS,
  STRING_SPLIT_KERNELS,
  STRING_HASH_KERNELS,
  STRING_NGRAM_KERNELS,
  STRING_NUMBER_KERNELS,
  STRING_FORMAT_KERNELS,
  STRING_REGEX_KERNELS,
  STRING_CODE_KERNELS,
  TABLE_KERNELS,
  VARIABLE_KERNELS,
  VARIABLE_SCATTER_KERNELS,
  PARSE_KERNELS,
  SEQUENCE_KERNELS,
  PROTO_KERNELS,
  EXAMPLE_JSON_KERNELS,
  INDEX_ARITHMETIC_KERNELS,
  SLICE_UPDATE_KERNELS,
  IN_TOP_K_KERNELS,
  SERIALIZED_KERNELS,
  UNICODE_KERNELS,
  COMPLEX_PARTS_KERNELS,
  EINSUM_KERNELS,
  BIAS_KERNELS,
  FFT_KERNELS,
  MATRIX_PART_KERNELS,
  MATRIX_SOLVE_KERNELS,
  SELF_ADJOINT_KERNELS,
  SINGULAR_KERNELS,
  QR_KERNELS,
  EIG_KERNELS,
  MATRIX_FUNCTION_KERNELS,
  TRIANGLE_KERNELS,
  TRIDIAGONAL_KERNELS,
  IMAGE_KERNELS,
  RANDOM_KERNELS,
  RANDOM_RATE_KERNELS,
  RANDOM_CROP_KERNELS,
  TRUNCATED_NORMAL_KERNELS,
  BINOMIAL_KERNELS,
  CANDIDATE_KERNELS,
  INDEX_SHUFFLE_KERNELS,
  GENERATOR_KERNELS,
  LIST_KERNELS,
  ARRAY_KERNELS,
  OPTIONAL_KERNELS,
  UNFED_KERNELS,
  BOOSTED_TREES_KERNELS,
  DECISION_FOREST_KERNELS,
  SCRIPT_KERNELS,
  IMAGE_ENCODE_KERNELS,
  SPARSE_SERIALIZED_KERNELS,
  CSR_KERNELS,
  CSR_PRODUCT_KERNELS,
  RAGGED_VARIANT_KERNELS,
  TEXT_NORMALIZE_KERNELS,
  REGEX_SPLIT_KERNELS,
  BYTE_SPLIT_KERNELS,
  TEXT_TOKENIZE_KERNELS,
  WORDPIECE_KERNELS,
  TEXT_TRIM_KERNELS,
  FAST_WORDPIECE_KERNELS,
  FAST_BERT_KERNELS,
  SENTENCEPIECE_KERNELS,
  TEXT_NGRAM_KERNELS,
  READ_FILE_KERNELS,
];

/** Families that calculate or compare: real numbers only, but for the ops of {@link COMPLEX_TOO}. */
const REAL: readonly Family[] = [
  GATHER_KERNELS,
  SCATTER_KERNELS,
  GENERATE_KERNELS,
  ARITHMETIC_KERNELS,
  UNARY_KERNELS,
  COMPARE_KERNELS,
  REDUCE_KERNELS,
  BIN_KERNELS,
  SEARCH_KERNELS,
  UNIQUE_KERNELS,
  SPARSE_KERNELS,
  SPARSE_DENSE_KERNELS,
  CROSS_KERNELS,
  SEGMENT_KERNELS,
  RAGGED_KERNELS,
  SET_KERNELS,
  COUNT_KERNELS,
  QUANTIZE_KERNELS,
  ACTIVATION_KERNELS,
  BITS_KERNELS,
  SPECIAL_KERNELS,
  EDIT_DISTANCE_KERNELS,
  RAGGED_SPARSE_KERNELS,
  SPARSE_MATH_KERNELS,
  RESAMPLE_KERNELS,
  DETECTION_KERNELS,
  DRAWING_KERNELS,
  COLOUR_KERNELS,
  AUDIO_KERNELS,
  CTC_KERNELS,
  CTC_LOSS_KERNELS,
  BEAM_SEARCH_KERNELS,
  GRADIENT_KERNELS,
  LAYER_GRADIENT_KERNELS,
  FILTER_GRADIENT_KERNELS,
  LOOKUP_GRADIENT_KERNELS,
  CLAMPED_GRADIENT_KERNELS,
  RESAMPLE_GRADIENT_KERNELS,
  OPTIMIZER_KERNELS,
  CROSS_PRODUCT_KERNELS,
  QUANTIZE_AGAIN_KERNELS,
  RANGED_ELEMENT_KERNELS,
  RANGED_LAYER_KERNELS,
  UNIFORM_ELEMENT_KERNELS,
  UNIFORM_PRODUCT_KERNELS,
  WINDOW_KERNELS,
  GLIMPSE_KERNELS,
  FRACTIONAL_POOL_KERNELS,
  ISOTONIC_KERNELS,
  DATA_FORMAT_KERNELS,
  RECURRENT_KERNELS,
  INPLACE_KERNELS,
  WINDOW_UPDATE_KERNELS,
  NEAREST_KERNELS,
];

/** What the kernels of these names do where the dtype is complex. */
const COMPLEX: Readonly<Record<string, Kernel>> = { ...COMPLEX_MATH, ...COMPLEX_KERNELS };

const COMPLEX_TOO = new Set([
  "Const",
  "HostConst",
  "ZerosLike",
  "Equal",
  "NotEqual",
  "Where",
  "Gather",
  "GatherV2",
  "GatherNd",
  "ResourceGather",
  "ResourceGatherNd",
  "OneHot",
  "TensorScatterUpdate",
  "DynamicPartition",
  "DynamicStitch",
  "ParallelDynamicStitch",
  ...Object.keys(COMPLEX),
]);

/** Ops that the compiler makes of several. */
const COMPILERS: readonly Family[] = [
  BOUNDED_IDS_KERNELS,
  FILLED_IDS_KERNELS,
  POOLED_LOOKUP_KERNELS,
  PRESENT_ELEMENTS_KERNELS,
];

const TENSORFLOWS = kernelsOf([...ANY_DTYPE, ...REAL, COMPLEX_ONLY_KERNELS]);
const KERNELS: ReadonlyMap<string, HostKernel> = new Map([...TENSORFLOWS, ...kernelsOf(COMPILERS)]);

function kernelsOf(families: readonly Family[]): Map<string, HostKernel> {
  return new Map(
    families.flatMap((family) =>
      Object.entries(family).map(([op, kernel]): [string, HostKernel] => [
        op,
        hostKernel(kernel, COMPLEX[op], VARIANT_SUMS[op]),
      ]),
    ),
  );
}

/** @param complex, variant  the kernels for complex numbers and for variants, where they are others */
function hostKernel(kernel: Kernel, complex: Kernel | undefined, variant: Kernel | undefined): HostKernel {
  if (!complex && !variant) return (call) => kernel(new OpCall(call));
  return (call) => (kernelFor(call, complex, variant) ?? kernel)(new OpCall(call));
}

function kernelFor({ inputs }: KernelCall, complex?: Kernel, variant?: Kernel): Kernel | undefined {
  if (complex && inputs.some((value) => isTensor(value) && isComplex(value.dtype))) return complex;
  return inputs.some((value) => (isTensor(value) ? value.dtype === "variant" : value.kind === "list"))
    ? variant
    : undefined;
}

const REAL_ONLY: ReadonlySet<string> = new Set(
  REAL.flatMap((family) => Object.keys(family)).filter((op) => !COMPLEX_TOO.has(op)),
);

/** Families whose ops take variants: those of lists, ragged tensors and sparse matrices, and those that move elements unseen. */
const VARIANTS_TOO: readonly Family[] = [
  LIST_KERNELS,
  ARRAY_KERNELS,
  OPTIONAL_KERNELS,
  RAGGED_VARIANT_KERNELS,
  SPARSE_SERIALIZED_KERNELS,
  CSR_KERNELS,
  CSR_PRODUCT_KERNELS,
  SHAPE_KERNELS,
  SLICE_KERNELS,
  JOIN_KERNELS,
  GATHER_KERNELS,
  SCATTER_KERNELS,
];

function takesVariants(op: string): boolean {
  return op in VARIANT_SUMS || VARIANTS_TOO.some((family) => op in family);
}

/** True, or what about the node's dtypes and attributes its kernel cannot take. */
function supports(node: GraphNode, { inputs, outputs }: NodeContext): true | string {
  for (const { dtype } of [...inputs, ...outputs]) {
    if (dtype === "variant" && !takesVariants(node.op)) return `${node.op} of a variant has no host kernel`;
    if (isComplex(dtype) && REAL_ONLY.has(node.op)) return `${node.op} of ${dtype} has no host kernel`;
  }
  if (node.op in COMPLEX_ONLY_KERNELS && !inputs.some(({ dtype }) => isComplex(dtype))) {
    return `${node.op} of ${inputs[0]?.dtype} has no host kernel`;
  }
  if (node.op in FILTER_GRADIENT_KERNELS && node.attrs.has("data_format")) {
    const format = node.attrs.text("data_format");
    if (!format.endsWith("C")) return `${node.op} of data_format ${format} has no host kernel`;
  }
  if (node.op in PROTO_KERNELS) return supportsProto(node);
  for (const [name, isKnown] of [
    ["input_encoding", isDecodable],
    ["output_encoding", isEncodable],
  ] as const) {
    if (node.op in UNICODE_KERNELS && node.attrs.has(name) && !isKnown(node.attrs.text(name))) {
      return `${name} ${node.attrs.text(name)} has no host kernel`;
    }
  }
  if (node.op in SENTENCEPIECE_KERNELS && node.attrs.has("return_nbest") && node.attrs.bool("return_nbest")) {
    return `${node.op} with return_nbest has no host kernel`;
  }
  if (node.op in TABLE_KERNELS && node.attrs.has("key_dtype") && isFloating(node.attrs.dtype("key_dtype"))) {
    return `tables with keys of ${node.attrs.dtype("key_dtype")} exist in no TensorFlow`;
  }
  return true;
}

/** The kernels of this package, with TensorFlow's semantics and error texts. */
export const hostKernels: KernelTable = { get: (op) => KERNELS.get(op), supports };

/** Every op of TensorFlow that has a kernel here. */
export function hostOps(): Iterable<string> {
  return TENSORFLOWS.keys();
}
