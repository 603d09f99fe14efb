import { arrays } from "./arrays/array.js";
import { casts } from "./arrays/casts.js";
import { contrasts } from "./images/contrast.js";
import { convolutions } from "./convolution/conv.js";
import { einsums } from "./math/einsum.js";
import { elementwise } from "./math/elementwise.js";
import { gathers } from "./arrays/gather.js";
import { histograms } from "./math/histograms.js";
import { images } from "./images/image.js";
import { normalizations } from "./convolution/lrn.js";
import { products } from "./math/matmul.js";
import { moves } from "./arrays/moves.js";
import type { LoweringTable } from "./node-lowering.js";
import { parts } from "./arrays/parts.js";
import { quantization } from "./math/quant.js";
import { quantizedProducts } from "./math/quantized-products.js";
import { reductions } from "./math/reduce.js";
import { scatters } from "./arrays/scatter.js";
import { segments } from "./math/segments.js";
import { selection } from "./math/select.js";
import { stridedSlices } from "./arrays/strided-slice.js";

/** Every TensorFlow op that has a way to ONNX. Whether a particular node can take it, its lowering says. */
export const lowerings: ReadonlyMap<string, LoweringTable[string]> = new Map(
  [
    arrays,
    casts,
    contrasts,
    convolutions,
    einsums,
    elementwise,
    gathers,
    histograms,
    images,
    moves,
    normalizations,
    parts,
    products,
    quantization,
    quantizedProducts,
    reductions,
    scatters,
    segments,
    selection,
    stridedSlices,
  ].flatMap((family) => Object.entries(family)),
);
