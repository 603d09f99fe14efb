import { DTYPES, elementCount } from "@shardserve/tensor";
import { contextOf } from "../infer/infer.js";
import type { Inference } from "../infer/inference.js";
import type { KernelTable } from "../ir/host.js";
import type { GraphNode, ValueInfo } from "../ir/ir.js";
import type { Program } from "../ir/program.js";

/** A variable above this size, in bytes, is not read whole on the host for a check or for ids. */
const VARIABLE_BYTES_MAX = 64 * 1024;

/** Why a node cannot be computed on the host before any device step; undefined when it can. */
export function hostObstacle(
  node: GraphNode,
  program: Program,
  inference: Inference,
  kernels: KernelTable,
): string | undefined {
  switch (node.op) {
    case "Const":
    case "Placeholder":
      return undefined;
    case "Variable": {
      const bytes = elementCount(node.attrs.shape("shape")!) * Math.max(DTYPES[node.attrs.dtype("dtype")].bytes, 16);
      return bytes <= VARIABLE_BYTES_MAX ? undefined : `it reads "${node.name}" whole`;
    }
    default: {
      if (isHeavy(node)) return `${node.op} "${node.name}" belongs on the device`;
      const context = contextOf(node, inference, program);
      if (!kernels.get(node.op) || !context) return `the host has no kernel for ${node.op}`;
      const support = kernels.supports(node, context);
      return support === true ? undefined : support;
    }
  }
}

const HEAVY = new Set(
  `MatMul SparseMatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 _FusedMatMul Einsum Conv2D Conv3D _FusedConv2D DepthwiseConv2dNative
   Conv2DBackpropInput Conv3DBackpropInputV2 FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 MaxPool AvgPool MaxPool3D
   AvgPool3D Softmax LogSoftmax ResizeBilinear ResizeBicubic ResizeNearestNeighbor SparseTensorDenseMatMul TopKV2 GatherRows
   LRN CropAndResize QuantizedConv2D QuantizedMatMul`
    .trim()
    .split(/\s+/),
);

/** Ops whose arithmetic is what devices are for, or whose rows are; the same op on integers is bookkeeping. */
export function isHeavy(node: GraphNode): boolean {
  return HEAVY.has(node.op) && !(node.attrs.has("T") && /^u?int/.test(node.attrs.dtype("T")));
}

/** Numbers that an engine computes sooner than the host, for which the turn's calls of an engine are then no matter. */
const LARGE_ELEMENTS_MIN = 16 * 1024;

/** True when the dimensions that are known make a value large. */
export function isLarge({ shape }: ValueInfo): boolean {
  return shape !== undefined && elementCount(shape.map((dim) => Math.max(dim, 1))) >= LARGE_ELEMENTS_MIN;
}
