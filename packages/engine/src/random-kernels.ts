import { type Random, ServingError } from "@shardserve/core";
import type { GraphNode, HostKernel, KernelCall, KernelTable, NodeContext } from "@shardserve/graph";
import { OUTPUT_BYTES_MAX } from "@shardserve/host-ops";
import { DTYPES, elementCount, newData, type Tensor, tensor, toNumbers } from "@shardserve/tensor";

/**
 * Kernels of TensorFlow's random ops without a seed: any stream of the right distribution is a right answer. They live
 * here because host-ops has no generator. With a seed TensorFlow promises certain numbers, which these do not give.
 */
const DISTRIBUTIONS: Readonly<Record<string, (random: Random) => number>> = {
  // 23 random bits: rounding to float32 must not give 1.
  RandomUniform: (random) => (random.uint32() >>> 9) * 2 ** -23,
  RandomStandardNormal: normal,
  TruncatedNormal: (random) => {
    for (;;) {
      const value = normal(random);
      if (Math.abs(value) < 2) return value;
    }
  },
};

/** Box and Muller's transform. */
function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
}

/** `kernels` and those of random ops. */
export function withRandomKernels(kernels: KernelTable, random: Random): KernelTable {
  const own = new Map<string, HostKernel>(
    Object.entries(DISTRIBUTIONS).map(([op, draw]) => [op, (call) => [filled(call, () => draw(random))]]),
  );
  return {
    get: (op) => kernels.get(op) ?? own.get(op),
    supports: (node, context) => (kernels.get(node.op) ? kernels.supports(node, context) : supports(node, context)),
  };
}

function supports({ attrs }: GraphNode, { outputs }: NodeContext): true | string {
  const dtype = outputs[0]?.dtype;
  if (dtype !== "float32" && dtype !== "float64") return `random numbers of ${dtype}`;
  return attrs.bigint("seed") === 0n && attrs.bigint("seed2") === 0n ? true : "random numbers with a seed";
}

function filled({ node, inputs }: KernelCall, draw: () => number): Tensor {
  const dtype = node.attrs.dtype("dtype") as "float32" | "float64";
  const shape = toNumbers(inputs[0] as Tensor);
  const count = elementCount(shape);
  if (shape.some((length) => length < 0)) {
    throw new ServingError("INVALID_ARGUMENT", `shape [${shape.join(",")}] has a negative dimension`);
  }
  if (count * DTYPES[dtype].bytes > OUTPUT_BYTES_MAX) {
    throw new ServingError("RESOURCE_EXHAUSTED", `${count} random numbers exceed ${OUTPUT_BYTES_MAX} bytes`);
  }
  const data = newData(dtype, count);
  for (let i = 0; i < count; i++) data[i] = draw();
  return tensor(dtype, shape, data as never);
}
