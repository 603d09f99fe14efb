import { arrays } from "./array.js";
import { convolutions } from "./conv.js";
import { einsums } from "./einsum.js";
import { elementwise } from "./elementwise.js";
import { gathers } from "./gather.js";
import { images } from "./image.js";
import { normalizations } from "./lrn.js";
import { products } from "./matmul.js";
import type { LoweringTable } from "./node-lowering.js";
import { quantization } from "./quant.js";
import { quantizedProducts } from "./quantized-products.js";
import { reductions } from "./reduce.js";
import { scatters } from "./scatter.js";
import { selection } from "./select.js";
import { stridedSlices } from "./strided-slice.js";

/** Every TensorFlow op that has a way to ONNX. Whether a particular node can take it, its lowering says. */
export const lowerings: ReadonlyMap<string, LoweringTable[string]> = new Map(
  [
    arrays,
    convolutions,
    einsums,
    elementwise,
    gathers,
    images,
    normalizations,
    products,
    quantization,
    quantizedProducts,
    reductions,
    scatters,
    selection,
    stridedSlices,
  ].flatMap((family) => Object.entries(family)),
);
