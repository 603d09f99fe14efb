/**
 * The headers of a model of Yggdrasil Decision Forests (github.com/google/yggdrasil-decision-forests), which TensorFlow Decision
 * Forests keeps among a SavedModel's assets: header.pb (abstract_model.proto), data_spec.pb (data_spec.proto) and
 * random_forest_header.pb or gradient_boosted_trees_header.pb; as far as predictions need them.
 */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { type FieldReader, readFields, readMessage } from "../call/proto-message.js";
import { damaged } from "./forest-errors.js";

/** Task of the proto. */
export const CLASSIFICATION = 1;
export const REGRESSION = 2;
export const RANKING = 3;
export const TASK_NAMES = [
  "UNDEFINED",
  "CLASSIFICATION",
  "REGRESSION",
  "RANKING",
  "CATEGORICAL_UPLIFT",
  "NUMERICAL_UPLIFT",
  "ANOMALY_DETECTION",
  "SURVIVAL_ANALYSIS",
];

/** ColumnType of the proto. */
export const NUMERICAL = 1;
export const CATEGORICAL = 4;
export const CATEGORICAL_SET = 5;
export const BOOLEAN = 7;
export const DISCRETIZED_NUMERICAL = 9;

export interface ModelHeader {
  readonly name: string;
  readonly task: number;
  readonly labelColumn: number;
  /** Columns of the data spec, in the order in which the inference op has them. */
  readonly inputColumns: readonly number[];
  readonly givesProbabilities: boolean;
  /** Calibration and the like, which changes what the trees say. */
  readonly hasPostprocessors: boolean;
}

export interface ColumnSpec {
  readonly type: number;
  readonly name: string;
  /** Of a categorical column, with 0, which stands for all that are not in its vocabulary. */
  readonly valueCount: number;
  /** Texts of its values, where they were asked for and have any. */
  readonly values: ReadonlyMap<number, string>;
  /** Where the bins of a discretized column begin, but for the first. */
  readonly boundaries: readonly number[];
}

export interface TreesHeader {
  readonly shardCount: number;
  readonly treeCount: number;
  readonly nodeFormat: string;
  /** Of random forests: each tree has one vote. */
  readonly isWinnerTakeAll: boolean;
  /** Of gradient boosted trees. */
  readonly loss: number;
  readonly initialPredictions: readonly number[];
  readonly treesPerIteration: number;
  readonly givesLogits: boolean;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** @throws ServingError SAVED_MODEL_INVALID for bytes that are no header */
export function readModelHeader(file: string, bytes: Uint8Array): ModelHeader {
  const inputColumns: number[] = [];
  const header: Mutable<ModelHeader> = {
    name: "",
    task: 0,
    labelColumn: 0,
    inputColumns,
    givesProbabilities: true,
    hasPostprocessors: false,
  };
  readAll(file, bytes, (reader) => (field, type) => {
    if (field === 1 && type === WireType.LengthDelimited) header.name = reader.string();
    else if (field === 2 && type === WireType.Varint) header.task = reader.int32();
    else if (field === 3 && type === WireType.Varint) header.labelColumn = reader.int32();
    else if (field === 5) return readRepeated(reader, type, WireType.Varint, () => inputColumns.push(reader.int32()));
    else if (field === 8 && type === WireType.Varint) header.givesProbabilities = reader.bool();
    else {
      header.hasPostprocessors ||= field === 16;
      return false;
    }
    return true;
  });
  return header;
}

/**
 * @param labelColumn  whose values are read with their texts
 * @throws ServingError SAVED_MODEL_INVALID for bytes that are no data spec
 */
export function readDataSpec(file: string, bytes: Uint8Array, labelColumn: number): ColumnSpec[] {
  const columns: ColumnSpec[] = [];
  readAll(file, bytes, (reader) => (field, type) => {
    if (field !== 1 || type !== WireType.LengthDelimited) return false;
    const values = new Map<number, string>();
    const boundaries: number[] = [];
    const column: Mutable<ColumnSpec> = { type: 0, name: "", valueCount: 0, values, boundaries };
    const readsTexts = columns.length === labelColumn;
    columns.push(column);
    return readMessage(reader, (part, wire) => {
      if (part === 1 && wire === WireType.Varint) column.type = reader.int32();
      else if (part === 2 && wire === WireType.LengthDelimited) column.name = reader.string();
      else if (part === 6 && wire === WireType.LengthDelimited) {
        return readMessage(reader, (inner, kind) => {
          if (inner === 2 && kind === WireType.Varint) column.valueCount = Number(reader.int64());
          else if (inner === 7 && kind === WireType.LengthDelimited && readsTexts) return readValue(reader, values);
          else return false;
          return true;
        });
      } else if (part === 8 && wire === WireType.LengthDelimited) {
        return readMessage(reader, (inner, kind) => {
          if (inner !== 1) return false;
          return readRepeated(reader, kind, WireType.Bit32, () => boundaries.push(reader.float()));
        });
      } else return false;
      return true;
    });
  });
  return columns;
}

/** One entry of a vocabulary: its text, and a message of its index and count. */
function readValue(reader: BinaryReader, values: Map<number, string>): true {
  let text = "";
  let index = 0;
  readMessage(reader, (field, type) => {
    if (type !== WireType.LengthDelimited) return false;
    if (field === 1) text = reader.string();
    else if (field === 2) {
      return readMessage(reader, (inner, kind) => {
        if (inner !== 1 || kind !== WireType.Varint) return false;
        index = Number(reader.int64());
        return true;
      });
    } else return false;
    return true;
  });
  values.set(index, text);
  return true;
}

function newTreesHeader(initialPredictions: number[]): Mutable<TreesHeader> {
  return {
    shardCount: 0,
    treeCount: 0,
    nodeFormat: "TFE_RECORDIO",
    isWinnerTakeAll: true,
    loss: 0,
    initialPredictions,
    treesPerIteration: 1,
    givesLogits: false,
  };
}

/** @throws ServingError SAVED_MODEL_INVALID for bytes that are no header */
export function readRandomForestHeader(file: string, bytes: Uint8Array): TreesHeader {
  const header = newTreesHeader([]);
  readAll(file, bytes, (reader) => (field, type) => {
    if (field === 1 && type === WireType.Varint) header.shardCount = reader.int32();
    else if (field === 2 && type === WireType.Varint) header.treeCount = Number(reader.int64());
    else if (field === 3 && type === WireType.Varint) header.isWinnerTakeAll = reader.bool();
    else if (field === 7 && type === WireType.LengthDelimited) header.nodeFormat = reader.string();
    else return false;
    return true;
  });
  return header;
}

/** @throws ServingError SAVED_MODEL_INVALID for bytes that are no header */
export function readBoostedTreesHeader(file: string, bytes: Uint8Array): TreesHeader {
  const initial: number[] = [];
  const header = newTreesHeader(initial);
  readAll(file, bytes, (reader) => (field, type) => {
    if (field === 1 && type === WireType.Varint) header.shardCount = reader.int32();
    else if (field === 2 && type === WireType.Varint) header.treeCount = Number(reader.int64());
    else if (field === 3 && type === WireType.Varint) header.loss = reader.int32();
    else if (field === 4) return readRepeated(reader, type, WireType.Bit32, () => initial.push(reader.float()));
    else if (field === 5 && type === WireType.Varint) header.treesPerIteration = reader.int32();
    else if (field === 7 && type === WireType.LengthDelimited) header.nodeFormat = reader.string();
    else if (field === 9 && type === WireType.Varint) header.givesLogits = reader.bool();
    else return false;
    return true;
  });
  return header;
}

function readAll(file: string, bytes: Uint8Array, fields: (reader: BinaryReader) => FieldReader): void {
  const reader = new BinaryReader(bytes);
  try {
    readFields(reader, bytes.length, fields(reader));
  } catch (error) {
    throw damaged(file, (error as Error).message);
  }
}

/** A repeated field: one value of the type `single`, or many of them packed. */
export function readRepeated(reader: BinaryReader, type: WireType, single: WireType, read: () => void): boolean {
  if (type === single) {
    read();
    return true;
  }
  if (type !== WireType.LengthDelimited) return false;
  const end = reader.uint32() + reader.pos;
  if (end > reader.len) throw new RangeError("a list leaves its buffer");
  while (reader.pos < end) read();
  if (reader.pos !== end) throw new RangeError("a list ends inside of a value");
  return true;
}
