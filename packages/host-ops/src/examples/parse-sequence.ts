/** ParseSequenceExample and its kin: what each form of the op asks for, and where it stands among the inputs. */
import type { DType, StringColumn, Tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { parseSequences, type RaggedSpec, type Specs } from "./sequence-columns.js";

function keysOf(value: Tensor): Uint8Array[] {
  const column = value.data as StringColumn;
  return Array.from({ length: column.length }, (_, i) => column.at(i));
}

interface Keys {
  readonly contextSparse: readonly Uint8Array[];
  readonly contextDense: readonly Uint8Array[];
  readonly listSparse: readonly Uint8Array[];
  readonly listDense: readonly Uint8Array[];
  readonly mayLack: (key: Uint8Array, k: number) => boolean;
}

/** The features that all three ops ask for; ragged ones are ParseSequenceExampleV2's alone. */
function specsOf(op: OpCall, keys: Keys, defaultsAt: number): { context: Specs; lists: Specs } {
  const { attrs } = op;
  const contextSparseTypes = attrs.dtypes("context_sparse_types");
  const contextDenseTypes = attrs.dtypes("Tcontext_dense");
  const contextShapes = attrs.shapes("context_dense_shapes");
  const listSparseTypes = attrs.dtypes("feature_list_sparse_types");
  const listDenseTypes = attrs.dtypes("feature_list_dense_types");
  const listShapes = attrs.shapes("feature_list_dense_shapes");
  const sparse = (list: readonly Uint8Array[], types: readonly DType[]) => {
    check(list.length === types.length, () => `${list.length} sparse keys do not fit ${types.length} types`);
    return list.map((key, k) => ({ key, dtype: types[k]! }));
  };
  check(
    keys.contextDense.length === contextDenseTypes.length && keys.listDense.length === listDenseTypes.length,
    () => "dense keys do not fit their types",
  );
  return {
    context: {
      sparse: sparse(keys.contextSparse, contextSparseTypes),
      dense: keys.contextDense.map((key, k) => ({
        key,
        dtype: contextDenseTypes[k]!,
        shape: contextShapes[k] ?? [],
        fallback: op.tensor(defaultsAt + k),
      })),
      ragged: [],
    },
    lists: {
      sparse: sparse(keys.listSparse, listSparseTypes),
      dense: keys.listDense.map((key, k) => ({
        key,
        dtype: listDenseTypes[k]!,
        shape: listShapes[k] ?? [],
        mayLack: keys.mayLack(key, k),
      })),
      ragged: [],
    },
  };
}

function contains(keys: readonly Uint8Array[], key: Uint8Array): boolean {
  return keys.some((other) => Buffer.compare(other, key) === 0);
}

function parseSequenceExample(op: OpCall): Tensor[] {
  const serialized = op.tensor(0);
  check(
    serialized.shape.length === 1,
    () => `Expected serialized to be a vector, got shape: ${printShape(serialized.shape)}`,
  );
  const { attrs } = op;
  const missing = attrs.byteStrings("feature_list_dense_missing_assumed_empty");
  const { context, lists } = specsOf(
    op,
    {
      contextSparse: attrs.byteStrings("context_sparse_keys"),
      contextDense: attrs.byteStrings("context_dense_keys"),
      listSparse: attrs.byteStrings("feature_list_sparse_keys"),
      listDense: attrs.byteStrings("feature_list_dense_keys"),
      mayLack: (key) => contains(missing, key),
    },
    2,
  );
  return parseSequences(serialized, op.strings(1), context, lists, true);
}

function raggedSpecs(op: OpCall, keysAt: number, prefix: string): RaggedSpec[] {
  const types = op.attrs.dtypes(`${prefix}_ragged_value_types`);
  const splitTypes = op.attrs.dtypes(`${prefix}_ragged_split_types`);
  return keysOf(op.tensor(keysAt)).map((key, k) => ({ key, dtype: types[k]!, splitDtype: splitTypes[k]! }));
}

function parseSequenceExampleV2(op: OpCall): Tensor[] {
  const serialized = op.tensor(0);
  check(
    serialized.shape.length <= 1,
    () => `Expected serialized to be a scalar or vector, got shape: ${printShape(serialized.shape)}`,
  );
  const missing = op.tensor(8).data as Uint8Array;
  const { context, lists } = specsOf(
    op,
    {
      contextSparse: keysOf(op.tensor(2)),
      contextDense: keysOf(op.tensor(3)),
      listSparse: keysOf(op.tensor(5)),
      listDense: keysOf(op.tensor(6)),
      mayLack: (_, k) => missing[k] === 1,
    },
    9,
  );
  return parseSequences(
    serialized,
    op.strings(1),
    { ...context, ragged: raggedSpecs(op, 4, "context") },
    { ...lists, ragged: raggedSpecs(op, 7, "feature_list") },
    true,
  );
}

function parseSingleSequenceExample(op: OpCall): Tensor[] {
  const serialized = op.tensor(0);
  check(
    serialized.shape.length === 0,
    () => `Expected serialized to be a scalar, got shape: ${printShape(serialized.shape)}`,
  );
  const counts = ["Ncontext_sparse", "Ncontext_dense", "Nfeature_list_sparse", "Nfeature_list_dense"].map((name) =>
    op.attrs.int(name),
  ) as [number, number, number, number];
  let at = 2;
  const [contextSparse, contextDense, listSparse, listDense] = counts.map((count) => {
    at += count;
    return op.tensors(at - count, at).flatMap(keysOf);
  }) as [Uint8Array[], Uint8Array[], Uint8Array[], Uint8Array[]];
  const missing = keysOf(op.tensor(1));
  const { context, lists } = specsOf(
    op,
    { contextSparse, contextDense, listSparse, listDense, mayLack: (key) => contains(missing, key) },
    at,
  );
  return parseSequences(serialized, op.strings(op.inputCount - 1), context, lists, false);
}

export const SEQUENCE_KERNELS: Readonly<Record<string, Kernel>> = {
  ParseSequenceExample: parseSequenceExample,
  ParseSequenceExampleV2: parseSequenceExampleV2,
  ParseSingleSequenceExample: parseSingleSequenceExample,
};
