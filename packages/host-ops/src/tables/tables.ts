/** Lookup table ops. */
import { ServingError } from "@shardserve/core";
import { type ResourceHandle, resourceKey } from "@shardserve/graph";
import { tensor } from "@shardserve/tensor";
import { check, checkScalar } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { LookupTable } from "./lookup-table.js";
import type { TableSpec } from "./table-values.js";
import { readVocabulary } from "./vocabulary.js";

const decoder = new TextDecoder();

/** Makes the node's table on its first run; later runs, and other nodes of the same shared name, find it. */
function handle(op: OpCall, spec: TableSpec): ResourceHandle[] {
  const key = resourceKey(op.node);
  const found = op.state.resources.get(key);
  if (!found) {
    op.state.resources.set(key, new LookupTable(spec));
  } else if (!(found instanceof LookupTable)) {
    throw new ServingError("GRAPH_INVALID", `resource ${key} is a ${found.kind}, but ${op.node.name} needs a table`);
  } else {
    const { keyDtype, valueDtype } = found.spec;
    check(
      keyDtype === spec.keyDtype && valueDtype === spec.valueDtype,
      () =>
        `Conflicting key/value dtypes ${keyDtype}->${valueDtype} with ${spec.keyDtype}-${spec.valueDtype} for table ${key}`,
    );
  }
  return [{ kind: "table", key }];
}

/** The table that an input names. */
export function tableOf(op: OpCall, input = 0): LookupTable {
  const { key } = op.handle(input);
  const table = op.state.resources.get(key);
  if (table instanceof LookupTable) return table;
  throw new ServingError(
    "NOT_FOUND",
    `Resource localhost/${key} does not exist: table ${key} was not made before ${op.node.name} ran`,
  );
}

function tableKernel(isMutable: boolean): Kernel {
  return (op) =>
    handle(op, {
      keyDtype: op.attrs.dtype("key_dtype"),
      valueDtype: op.attrs.dtype("value_dtype"),
      valueShape: op.attrs.has("value_shape") ? (op.attrs.shape("value_shape") ?? []) : [],
      isMutable,
    });
}

/** A dense table keeps two keys for its own bookkeeping; using one as a key is an error there. */
function denseTable(op: OpCall): ResourceHandle[] {
  return handle(op, {
    keyDtype: op.attrs.dtype("key_dtype"),
    valueDtype: op.attrs.dtype("value_dtype"),
    valueShape: op.attrs.shape("value_shape") ?? [],
    isMutable: true,
    reservedKeys: [
      { name: "empty_key", key: op.tensor(0) },
      { name: "deleted_key", key: op.tensor(1) },
    ],
  });
}

function initialize(op: OpCall): [] {
  const [keys, values] = [op.tensor(1), op.tensor(2)];
  check(keys.shape.length === 1, () => `Keys must be a vector, but received shape [${keys.shape.join(",")}]`);
  tableOf(op).initialize(keys, values);
  return [];
}

async function initializeFromFile(op: OpCall): Promise<[]> {
  const table = tableOf(op);
  checkScalar(op.tensor(1), "filename");
  const path = decoder.decode(op.strings(1).at(0));
  const bytes = await op.state.readFile(path, { signal: op.signal });
  const { keyDtype, valueDtype } = table.spec;
  const { keys, values } = await readVocabulary(
    path,
    bytes,
    {
      keyIndex: op.attrs.int("key_index"),
      valueIndex: op.attrs.int("value_index"),
      keyDtype,
      valueDtype,
      lineCount: op.attrs.int("vocab_size"),
      delimiter: op.attrs.text("delimiter"),
      offset: op.attrs.int("offset"),
    },
    op.signal,
  );
  table.initialize(keys, values);
  return [];
}

const hashTable = tableKernel(false);
const mutableHashTable = tableKernel(true);

const find: Kernel = (op) => [tableOf(op).find(op.tensor(1), op.tensor(2))];
const size: Kernel = (op) => [tensor("int64", [], fromIntegers([tableOf(op).size]))];
const insert: Kernel = (op) => {
  tableOf(op).insert(op.tensor(1), op.tensor(2));
  return [];
};
/** LookupTableImport fills static tables as well. */
const importAll: Kernel = (op) => {
  const table = tableOf(op);
  if (table.spec.isMutable) table.import(op.tensor(1), op.tensor(2));
  else table.initialize(op.tensor(1), op.tensor(2));
  return [];
};
const exportAll: Kernel = (op) => {
  const { keys, values } = tableOf(op).export();
  return [keys, values];
};

export const TABLE_KERNELS: Readonly<Record<string, Kernel>> = {
  HashTable: hashTable,
  HashTableV2: hashTable,
  AnonymousHashTable: hashTable,
  MutableHashTable: mutableHashTable,
  MutableHashTableV2: mutableHashTable,
  AnonymousMutableHashTable: mutableHashTable,
  MutableHashTableOfTensors: mutableHashTable,
  MutableHashTableOfTensorsV2: mutableHashTable,
  AnonymousMutableHashTableOfTensors: mutableHashTable,
  MutableDenseHashTable: denseTable,
  MutableDenseHashTableV2: denseTable,
  AnonymousMutableDenseHashTable: denseTable,
  InitializeTable: initialize,
  InitializeTableV2: initialize,
  InitializeTableFromTextFile: initializeFromFile,
  InitializeTableFromTextFileV2: initializeFromFile,
  LookupTableFind: find,
  LookupTableFindV2: find,
  LookupTableSize: size,
  LookupTableSizeV2: size,
  LookupTableInsert: insert,
  LookupTableInsertV2: insert,
  LookupTableImport: importAll,
  LookupTableImportV2: importAll,
  LookupTableExport: exportAll,
  LookupTableExportV2: exportAll,
  LookupTableRemoveV2: (op) => {
    tableOf(op).remove(op.tensor(1));
    return [];
  },
};
