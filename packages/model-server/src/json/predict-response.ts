import { ServingError } from "@shardserve/core";
import { elementCount, lanesOf, type StringColumn, type Tensor, tfDTypeString } from "@shardserve/tensor";
import { formatFloat64, formatInt64, safeInt64 } from "./format-number.js";
import { JsonWriter } from "./writer.js";

/** Elements between two pauses. */
export const SLICE_ELEMENTS = 8 * 1024;

type WriteElement = (writer: JsonWriter, i: number) => void;

/**
 * `{"predictions": [...]}`: one entry per row; the bare value with one output, else an object of all outputs.
 *
 * @throws ServingError INVALID_ARGUMENT when an output has no rows or the outputs disagree in number
 */
export function* rowsToJson(outputs: ReadonlyMap<string, Tensor>): Generator<undefined, Buffer> {
  const count = rowCount(outputs);
  const columns = [...outputs].map(([name, value]) => ({
    key: Buffer.from(name),
    shape: value.shape,
    write: elementWriter(name, value),
    isLarge: elementCount(value.shape.slice(1)) > SLICE_ELEMENTS,
    next: 0,
  }));
  const writer = new JsonWriter();
  writer.ascii('{\n    "predictions": [');
  let pauseAt = SLICE_ELEMENTS;
  for (let row = 0; row < count; row++) {
    if (columns.length === 1) {
      if (row > 0) writer.ascii(", ");
      const column = columns[0]!;
      column.next = column.isLarge
        ? yield* writeSliced(writer, column.write, column.shape, 1, column.next)
        : writeNested(writer, column.write, column.shape, 1, column.next);
    } else {
      writer.ascii(row > 0 ? ",\n        {" : "\n        {");
      for (const [i, column] of columns.entries()) {
        writer.ascii(i > 0 ? ",\n            " : "\n            ");
        writer.string(column.key);
        writer.ascii(": ");
        column.next = column.isLarge
          ? yield* writeSliced(writer, column.write, column.shape, 1, column.next)
          : writeNested(writer, column.write, column.shape, 1, column.next);
      }
      writer.ascii("\n        }");
    }
    if ((columns[0]!.next + row) * columns.length >= pauseAt) {
      yield;
      pauseAt += SLICE_ELEMENTS;
    }
  }
  writer.ascii(count > 0 ? "\n    ]\n}" : "]\n}");
  return yield* writer.finish();
}

/** `{"outputs": ...}`: the bare value with one output, else an object of all outputs. */
export function* columnsToJson(outputs: ReadonlyMap<string, Tensor>): Generator<undefined, Buffer> {
  assertSome(outputs);
  const writer = new JsonWriter();
  const isNamed = outputs.size > 1;
  writer.ascii('{\n    "outputs": ');
  if (isNamed) writer.ascii("{");
  let isFirst = true;
  for (const [name, value] of outputs) {
    if (isNamed) {
      writer.ascii(isFirst ? "\n        " : ",\n        ");
      writer.string(Buffer.from(name));
      writer.ascii(": ");
    }
    isFirst = false;
    yield* writeSliced(writer, elementWriter(name, value), value.shape, 0, 0);
  }
  writer.ascii(isNamed ? "\n    }\n}" : "\n}");
  return yield* writer.finish();
}

function assertSome(outputs: ReadonlyMap<string, Tensor>): void {
  if (outputs.size === 0) throw new ServingError("INVALID_ARGUMENT", "Cannot convert empty tensor map to JSON");
}

function rowCount(outputs: ReadonlyMap<string, Tensor>): number {
  assertSome(outputs);
  let count = -1;
  for (const [name, { shape }] of outputs) {
    if (shape.length === 0) {
      throw new ServingError("INVALID_ARGUMENT", `Tensor name: ${name} has no shape information `);
    }
    if (count >= 0 && count !== shape[0]) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        `Tensor name: ${name} has inconsistent batch size: ${shape[0]} expecting: ${count}`,
      );
    }
    count = shape[0]!;
  }
  return count;
}

/** Writes the elements under one index of dimensions [0, dim), starting at element `next`; returns the next element. */
function writeNested(
  writer: JsonWriter,
  write: WriteElement,
  shape: readonly number[],
  dim: number,
  next: number,
): number {
  if (dim >= shape.length) {
    write(writer, next);
    return next + 1;
  }
  writer.ascii("[");
  for (let i = 0; i < shape[dim]!; i++) {
    if (i > 0) writer.ascii(", ");
    next = writeNested(writer, write, shape, dim + 1, next);
  }
  writer.ascii("]");
  return next;
}

/** As writeNested, with pauses wherever there is more than a slice of elements. */
function* writeSliced(
  writer: JsonWriter,
  write: WriteElement,
  shape: readonly number[],
  dim: number,
  first: number,
): Generator<undefined, number> {
  if (elementCount(shape.slice(dim)) <= SLICE_ELEMENTS) return writeNested(writer, write, shape, dim, first);
  writer.ascii("[");
  let next = first;
  let pauseAt = next + SLICE_ELEMENTS;
  const isLarge = elementCount(shape.slice(dim + 1)) > SLICE_ELEMENTS;
  for (let i = 0; i < shape[dim]!; i++) {
    if (i > 0) writer.ascii(", ");
    next = isLarge
      ? yield* writeSliced(writer, write, shape, dim + 1, next)
      : writeNested(writer, write, shape, dim + 1, next);
    if (next >= pauseAt) {
      yield;
      pauseAt = next + SLICE_ELEMENTS;
    }
  }
  writer.ascii("]");
  return next;
}

/** @throws ServingError INVALID_ARGUMENT for an element type that has no JSON form */
export function elementWriter(name: string, value: Tensor): WriteElement {
  switch (value.dtype) {
    case "float32": {
      const data = value.data as Float32Array;
      return (writer, i) => writer.float32(data[i]!);
    }
    case "float64": {
      const data = value.data as Float64Array;
      return (writer, i) => writer.ascii(formatFloat64(data[i]!));
    }
    case "int32":
    case "int16":
    case "int8":
    case "uint8":
    case "uint32": {
      const data = value.data as Int32Array;
      return (writer, i) => writer.integer(data[i]!);
    }
    case "int64":
    case "uint64": {
      const lanes = lanesOf(value.data as BigInt64Array);
      const isSigned = value.dtype === "int64";
      return (writer, i) => {
        const value = safeInt64(lanes, i, isSigned);
        if (value === value)
          writer.integer(value); // no NaN
        else writer.ascii(formatInt64(lanes, i, isSigned));
      };
    }
    case "bool": {
      const data = value.data as Uint8Array;
      return (writer, i) => writer.ascii(data[i] === 0 ? "false" : "true");
    }
    case "string": {
      const data = value.data as StringColumn;
      return name.endsWith("_bytes")
        ? (writer, i) => writer.ascii(`{"b64": "${Buffer.from(data.at(i)).toString("base64")}"}`)
        : (writer, i) => writer.string(data.at(i));
    }
    default:
      throw new ServingError(
        "INVALID_ARGUMENT",
        `Failed to write JSON value for tensor type: ${tfDTypeString(value.dtype)}`,
      );
  }
}
