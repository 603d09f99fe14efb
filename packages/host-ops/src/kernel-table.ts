import type { HostKernel, KernelTable } from "@shardserve/graph";
import { ARITHMETIC_KERNELS } from "./arithmetic.js";
import { GATHER_KERNELS } from "./array-gather.js";
import { JOIN_KERNELS } from "./array-join.js";
import { SHAPE_KERNELS } from "./array-shape.js";
import { SLICE_KERNELS } from "./array-slice.js";
import { CAST_KERNELS } from "./cast.js";
import { COMPARE_KERNELS } from "./compare.js";
import { GENERATE_KERNELS } from "./generate.js";
import { type Kernel, OpCall } from "./op-call.js";
import { PARSE_KERNELS } from "./parse-example.js";
import { RAGGED_KERNELS } from "./ragged.js";
import { REDUCE_KERNELS } from "./reduce.js";
import { SEARCH_KERNELS } from "./search.js";
import { SEGMENT_KERNELS } from "./segments.js";
import { SET_KERNELS } from "./sets.js";
import { SPARSE_KERNELS } from "./sparse.js";
import { STRING_CODE_KERNELS } from "./string-code.js";
import { STRING_EDIT_KERNELS } from "./string-edit.js";
import { STRING_FORMAT_KERNELS } from "./string-format.js";
import { STRING_HASH_KERNELS } from "./string-hash.js";
import { STRING_NUMBER_KERNELS } from "./string-numbers.js";
import { STRING_REGEX_KERNELS } from "./string-regex.js";
import { TABLE_KERNELS } from "./tables.js";
import { UNARY_KERNELS } from "./unary.js";
import { UNIQUE_KERNELS } from "./unique.js";
import { VARIABLE_KERNELS } from "./variables.js";

const FAMILIES: readonly Readonly<Record<string, Kernel>>[] = [
  SHAPE_KERNELS,
  SLICE_KERNELS,
  GATHER_KERNELS,
  JOIN_KERNELS,
  GENERATE_KERNELS,
  ARITHMETIC_KERNELS,
  UNARY_KERNELS,
  COMPARE_KERNELS,
  CAST_KERNELS,
  REDUCE_KERNELS,
  SEARCH_KERNELS,
  UNIQUE_KERNELS,
  STRING_EDIT_KERNELS,
  STRING_HASH_KERNELS,
  STRING_NUMBER_KERNELS,
  STRING_FORMAT_KERNELS,
  STRING_REGEX_KERNELS,
  STRING_CODE_KERNELS,
  TABLE_KERNELS,
  VARIABLE_KERNELS,
  PARSE_KERNELS,
  SPARSE_KERNELS,
  SEGMENT_KERNELS,
  RAGGED_KERNELS,
  SET_KERNELS,
];

const KERNELS: ReadonlyMap<string, HostKernel> = new Map(
  FAMILIES.flatMap((family) =>
    Object.entries(family).map(([op, kernel]): [string, HostKernel] => [op, (call) => kernel(new OpCall(call))]),
  ),
);

/** The kernels of this package, with TensorFlow's semantics and error texts. */
export const hostKernels: KernelTable = {
  get: (op) => KERNELS.get(op),
  supports: () => true,
};
