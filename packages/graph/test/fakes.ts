import { type Tensor, tensor } from "@shardserve/tensor";
import type { DeviceSupport, HostKernel, KernelTable } from "../src/ir/host.js";
import { opDef } from "../src/op-table.js";

/** Kernels that compute: enough for folding. */
const COMPUTING: Readonly<Record<string, (inputs: readonly Tensor[]) => Tensor>> = {
  AddV2: ([a, b]) => pairwise(a!, b!, (x, y) => x + y),
  Mul: ([a, b]) => pairwise(a!, b!, (x, y) => x * y),
  Reciprocal: ([a]) => pairwise(a!, a!, (x) => 1 / x),
  Neg: ([a]) => pairwise(a!, a!, (x) => -x),
  Greater: ([a, b]) => {
    const { data, shape } = pairwise(a!, b!, (x, y) => (x > y ? 1 : 0));
    return tensor("bool", shape, Uint8Array.from(data as Float32Array));
  },
};

function pairwise(a: Tensor, b: Tensor, combine: (x: number, y: number) => number): Tensor {
  const [left, right] = [a.data as Float32Array, b.data as Float32Array];
  const longer = left.length >= right.length ? a : b;
  const length = Math.max(left.length, right.length);
  const values = Array.from({ length }, (_, i) => combine(left[i % left.length]!, right[i % right.length]!));
  return a.dtype === "int32"
    ? tensor("int32", longer.shape, Int32Array.from(values))
    : tensor("float32", longer.shape, Float32Array.from(values));
}

/**
 * Kernels for `ops` besides those that compute; these may be placed but never run.
 *
 * @param calls counts runs by op
 */
export function fakeKernels(ops = "", calls: Map<string, number> = new Map()): KernelTable {
  const placed = new Set(ops.split(" ").filter((op) => op !== ""));
  return {
    get: (op): HostKernel | undefined => {
      const compute = COMPUTING[op];
      if (compute) {
        return ({ inputs }) => {
          calls.set(op, (calls.get(op) ?? 0) + 1);
          return [compute(inputs as Tensor[])];
        };
      }
      return placed.has(op)
        ? () => {
            throw new Error(`${op} must not run while planning`);
          }
        : undefined;
    },
    supports: () => true,
  };
}

/** A device that runs every op of TensorFlow but `refused`. */
export function fakeDevice(refused = ""): DeviceSupport {
  const names = new Set(refused.split(" "));
  const isKnown = (op: string): boolean => opDef(op) !== undefined || op === "GatherRows";
  return { supports: ({ op }) => (names.has(op) || !isKnown(op) ? `no ${op} here` : true) };
}
