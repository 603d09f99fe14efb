import type { HostValue, KernelCall } from "./contract.js";
import { SHAPE_KERNELS } from "./array-shape.js";
import { SLICE_KERNELS } from "./array-slice.js";
import { type Kernel, OpCall } from "./op-call.js";

const FAMILIES: readonly Readonly<Record<string, Kernel>>[] = [SHAPE_KERNELS, SLICE_KERNELS];

type HostKernel = (call: KernelCall) => readonly HostValue[] | Promise<readonly HostValue[]>;

/** All kernels of this package by op name. */
export const hostKernels: ReadonlyMap<string, HostKernel> = new Map(
  FAMILIES.flatMap((family) =>
    Object.entries(family).map(([op, kernel]) => [op, (call: KernelCall) => kernel(new OpCall(call))] as const),
  ),
);
