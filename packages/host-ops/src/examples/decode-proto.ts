/** DecodeProtoV2: fields of serialised messages as tensors (tensorflow/core/kernels/decode_proto_op.cc). TF-Ranking's requests are read by it. */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { ServingError } from "@shardserve/core";
import type { GraphNode } from "@shardserve/graph";
import { strings, type Tensor, tensor } from "@shardserve/tensor";
import { check } from "../call/errors.js";
import { allocate, checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { fieldsOf, type FieldValue, type ProtoField } from "./proto-fields.js";

/** Descriptors are read once a node: they do not change. */
const known = new WeakMap<GraphNode, readonly ProtoField[]>();

function fieldsOfNode(op: OpCall): readonly ProtoField[] {
  const found = known.get(op.node) ?? fieldsOf(op.attrs);
  known.set(op.node, found);
  return found;
}

/**
 * Told of each value of a wanted field, in the order of the message.
 *
 * @param isPacked  several values of a field of which there can be one: TensorFlow counts it, and writes none of them
 */
type Take = (field: ProtoField, value: FieldValue, isPacked: boolean) => void;

/** @throws ServingError DATA_LOSS for a message that ends too early or is none */
function scan(bytes: Uint8Array, wanted: ReadonlyMap<number, ProtoField>, take: Take): void {
  const reader = new BinaryReader(bytes);
  try {
    while (reader.pos < reader.len) {
      const start = reader.pos;
      const [number, type] = reader.tag();
      const field = wanted.get(number);
      const isGroup = type === WireType.StartGroup && field?.wire.type === type;
      if (!field || isGroup) reader.skip(type, number);
      else readField(reader, field, type, take);
      // A group is kept with its tags.
      if (isGroup) take(field!, bytes.subarray(start, reader.pos), false);
    }
  } catch (error) {
    if (error instanceof ServingError) throw error;
    throw new ServingError("DATA_LOSS", `a message that DecodeProtoV2 reads is malformed: ${(error as Error).message}`);
  }
}

function readField(reader: BinaryReader, field: ProtoField, type: WireType, take: Take): void {
  const { wire } = field;
  if (type === wire.type) take(field, wire.read(reader), false);
  else if (type !== WireType.LengthDelimited)
    reader.skip(type, field.number); // In another form than the field's: no value of it.
  else if (wire.type === WireType.StartGroup) throw new RangeError(`field ${field.number} is a group`);
  else readPacked(reader.bytes(), field, take);
}

function readPacked(bytes: Uint8Array, field: ProtoField, take: Take): void {
  const reader = new BinaryReader(bytes);
  const read = field.wire.readPacked ?? field.wire.read;
  while (reader.pos < reader.len) take(field, read(reader), !field.isRepeated);
}

/** Values of one field in all messages: [messages, most], filled with the default. */
class Column {
  readonly #field: ProtoField;
  readonly #most: number;
  readonly #bytes: Uint8Array[] | undefined;
  readonly #data: ArrayLike<unknown> & { [index: number]: unknown };

  constructor(field: ProtoField, messages: number, most: number) {
    this.#field = field;
    this.#most = most;
    checkOutput(field.dtype, messages * most);
    this.#bytes =
      field.dtype === "string"
        ? Array.from({ length: messages * most }, () => field.fallback as Uint8Array)
        : undefined;
    this.#data =
      this.#bytes ??
      (allocate(field.dtype as "int32", messages * most).fill(this.#stored(field.fallback) as never) as never);
  }

  set(message: number, index: number, value: FieldValue): void {
    this.#data[message * this.#most + index] = this.#stored(value);
  }

  tensor(prefix: readonly number[]): Tensor {
    const shape = [...prefix, this.#most];
    if (!this.#bytes) return tensor(this.#field.dtype, shape, this.#data as never);
    checkOutput(
      "string",
      this.#bytes.length,
      this.#bytes.reduce((total, { length }) => total + length, 0),
    );
    return strings(shape, this.#bytes);
  }

  #stored(value: FieldValue): unknown {
    const { dtype } = this.#field;
    if (dtype === "int64" || dtype === "uint64") return BigInt(value as number);
    return typeof value === "boolean" ? Number(value) : value;
  }
}

function decodeProto(op: OpCall): Tensor[] {
  const [input, messages] = [op.tensor(0), op.strings(0)];
  const fields = fieldsOfNode(op);
  check(messages.length > 0, () => "Bufs argument must contain at least one value");
  // Of a field that is named twice the first name gets it.
  const wanted = new Map(fields.toReversed().map((field) => [field.number, field]));
  const sizes = allocate("int32", messages.length * fields.length);
  for (let m = 0; m < messages.length; m++) {
    scan(messages.at(m), wanted, ({ output, isRepeated }) => {
      const at = m * fields.length + output;
      sizes[at] = isRepeated ? sizes[at]! + 1 : 1;
    });
  }
  const columns = fields.map((field) => {
    let most = 1;
    for (let at = field.output; at < sizes.length; at += fields.length) most = Math.max(most, sizes[at]!);
    return new Column(field, messages.length, most);
  });
  const written = new Int32Array(fields.length);
  for (let m = 0; m < messages.length; m++) {
    written.fill(0);
    scan(messages.at(m), wanted, (field, value, isPacked) => {
      const at = written[field.output]!;
      if (isPacked && at > 0) {
        throw new ServingError(
          "DATA_LOSS",
          `field ${field.number} of a message that DecodeProtoV2 reads has more values than one`,
        );
      }
      if (isPacked) return;
      columns[field.output]!.set(m, field.isRepeated ? at : 0, value);
      written[field.output] = at + 1;
    });
  }
  return [
    tensor("int32", [...input.shape, fields.length], sizes),
    ...columns.map((column) => column.tensor(input.shape)),
  ];
}

export const PROTO_KERNELS: Readonly<Record<string, Kernel>> = { DecodeProtoV2: decodeProto };
