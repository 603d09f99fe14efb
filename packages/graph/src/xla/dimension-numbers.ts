import { ServingError } from "@shardserve/core";
import { type WireField, wireFields, WireReader } from "@shardserve/tensor";

/** Messages of xla_data.proto that nodes hold serialised: how the dimensions of their operands go together. */

/** Names by field number; all are int64, those of `lists` repeated. */
interface Message {
  readonly lists: Readonly<Record<number, string>>;
  readonly numbers: Readonly<Record<number, string>>;
}

const CONVOLUTION: Message = {
  numbers: {
    7: "input_batch_dimension",
    8: "input_feature_dimension",
    3: "kernel_input_feature_dimension",
    4: "kernel_output_feature_dimension",
    9: "output_batch_dimension",
    10: "output_feature_dimension",
  },
  lists: { 11: "input_spatial_dimensions", 6: "kernel_spatial_dimensions", 12: "output_spatial_dimensions" },
};

/** Named as in StableHLO. */
const DOT: Message = {
  numbers: {},
  lists: {
    1: "lhs_contracting_dimensions",
    2: "rhs_contracting_dimensions",
    3: "lhs_batching_dimensions",
    4: "rhs_batching_dimensions",
  },
};

const GATHER: Message = {
  numbers: { 4: "index_vector_dim" },
  lists: {
    1: "offset_dims",
    2: "collapsed_slice_dims",
    3: "start_index_map",
    5: "operand_batching_dims",
    6: "start_indices_batching_dims",
  },
};

const SCATTER: Message = {
  numbers: { 4: "index_vector_dim" },
  lists: {
    1: "update_window_dims",
    2: "inserted_window_dims",
    3: "scatter_dims_to_operand_dims",
    5: "input_batching_dims",
    6: "scatter_indices_batching_dims",
  },
};

const MESSAGES = { CONVOLUTION, DOT, GATHER, SCATTER } as const;

/** No tensor has more dimensions. */
const DIMENSIONS_MAX = 64;

/** What a message says, by the names of StableHLO's attributes; what it leaves out is 0, or an empty list. */
export interface DimensionNumbers {
  readonly numbers: Readonly<Record<string, number>>;
  readonly lists: Readonly<Record<string, readonly number[]>>;
}

/** @throws ServingError GRAPH_INVALID for bytes that are no such message, and for dimensions that no tensor has */
export function readDimensionNumbers(kind: keyof typeof MESSAGES, bytes: Uint8Array): DimensionNumbers {
  const message: Message = MESSAGES[kind];
  const numbers = Object.fromEntries(Object.values(message.numbers).map((name) => [name, 0]));
  const lists = Object.fromEntries(Object.values(message.lists).map((name): [string, number[]] => [name, []]));
  try {
    for (const field of wireFields(new WireReader(bytes))) {
      const [name, list] = [message.numbers[field.number], message.lists[field.number]];
      const values = name === undefined && list === undefined ? [] : valuesOf(bytes, field);
      if (name !== undefined && values.length > 0) numbers[name] = values.at(-1)!;
      if (list !== undefined) lists[list]!.push(...values);
    }
  } catch (error) {
    throw new ServingError("GRAPH_INVALID", `its dimension numbers: ${ServingError.from(error).message}`);
  }
  if ([Object.values(numbers), ...Object.values(lists)].some((values) => values.length > DIMENSIONS_MAX)) {
    throw new ServingError("GRAPH_INVALID", `its dimension numbers name more than ${DIMENSIONS_MAX} dimensions`);
  }
  return { numbers, lists };
}

/** One number, or several that are packed. */
function valuesOf(bytes: Uint8Array, field: WireField): number[] {
  const reader = new WireReader(bytes, field.valueStart, field.end);
  const values: number[] = [];
  while (reader.position < reader.end && values.length <= DIMENSIONS_MAX) {
    const value = reader.varint();
    if (value > DIMENSIONS_MAX) throw new ServingError("INVALID_ARGUMENT", `there is no dimension ${value}`);
    values.push(value);
  }
  return values;
}
