import { arrays } from "./array.js";
import { casts } from "./casts.js";
import { contrasts } from "./contrast.js";
import { convolutions } from "./conv.js";
import { einsums } from "./einsum.js";
import { elementwise } from "./elementwise.js";
import { gathers } from "./gather.js";
import { histograms } from "./histograms.js";
import { images } from "./image.js";
import { normalizations } from "./lrn.js";
import { products } from "./matmul.js";
import { moves } from "./moves.js";
import type { LoweringTable } from "./node-lowering.js";
import { parts } from "./parts.js";
import { quantization } from "./quant.js";
import { quantizedProducts } from "./quantized-products.js";
import { reductions } from "./reduce.js";
import { scatters } from "./scatter.js";
import { segments } from "./segments.js";
import { selection } from "./select.js";
import { stridedSlices } from "./strided-slice.js";

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
