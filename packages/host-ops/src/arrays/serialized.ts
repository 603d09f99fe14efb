/** Tensors as bytes: TensorProto messages, fingerprints, compressed strings. */
import { promisify } from "node:util";
import { gunzip, inflate } from "node:zlib";
import { ServingError } from "@shardserve/core";
import {
  bytesOf,
  decodeTensorProto,
  elementCount,
  encodeTensorProto,
  type NumericData,
  StringColumn,
  StringColumnBuilder,
  type Tensor,
  tensor,
  tfDTypeString,
} from "@shardserve/tensor";
import { check, invalid, printShape } from "../call/errors.js";
import { allocate, checkOutput, OUTPUT_BYTES_MAX } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf } from "../call/shapes.js";
import { FINGERPRINT, fingerprint64 } from "../strings/farm-hash.js";

const decoder = new TextDecoder();

function parseTensor(op: OpCall): Tensor[] {
  const { shape } = op.tensor(0);
  check(elementCount(shape) === 1, () => `Expected \`serialized\` to be a scalar, got shape: ${printShape(shape)}`);
  const wanted = op.attrs.dtype("out_type");
  let value: Tensor;
  try {
    value = decodeTensorProto(op.strings(0).at(0));
  } catch (error) {
    if (!(error instanceof ServingError)) throw error;
    throw invalid(`Could not parse \`serialized\` as TensorProto: ${error.message}`);
  }
  check(
    value.dtype === wanted,
    () => `Type mismatch between parsed tensor (${tfDTypeString(value.dtype)}) and dtype (${tfDTypeString(wanted)})`,
  );
  return [value];
}

function serializeTensor(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const bytes = encodeTensorProto(value, { asContent: value.dtype !== "string" });
  return [tensor("string", [], StringColumn.from([bytes]))];
}

/** The latest fingerprint's eight bytes, low first. */
function putFingerprint(out: Uint8Array, at: number): void {
  const { words, register } = FINGERPRINT;
  new DataView(out.buffer, out.byteOffset).setInt32(at, words[2 * register]!, true);
  new DataView(out.buffer, out.byteOffset).setInt32(at + 4, words[2 * register + 1]!, true);
}

function fingerprint(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const method = decoder.decode(op.strings(1).at(0));
  check(
    op.tensor(1).shape.length === 0,
    () => `\`method\` should be a scalar string: ${printShape(op.tensor(1).shape)}`,
  );
  check(method === "farmhash64", () => `Unsupported fingerprint method: ${method}`);
  check(value.shape.length > 0, () => `\`data\` should have at least one dimension: ${printShape(value.shape)}`);
  const rows = value.shape[0]!;
  const size = countOf(value.shape, 1);
  const out = allocate("uint8", rows * 8);
  if (value.data instanceof StringColumn) {
    const { bytes, offsets } = value.data;
    // Rows of several strings are hashed over their strings' fingerprints.
    const inner = new Uint8Array(size * 8);
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < size; i++) {
        fingerprint64(bytes, offsets[row * size + i]!, offsets[row * size + i + 1]!);
        putFingerprint(inner, 8 * i);
      }
      if (size !== 1) fingerprint64(inner, 0, inner.length);
      putFingerprint(out, 8 * row);
    }
  } else {
    const bytes = bytesOf(value.data as NumericData);
    const rowBytes = rows === 0 ? 0 : bytes.length / rows;
    for (let row = 0; row < rows; row++) {
      fingerprint64(bytes, row * rowBytes, (row + 1) * rowBytes);
      putFingerprint(out, 8 * row);
    }
  }
  return [tensor("uint8", [rows, 8], out)];
}

const inflaters = { ZLIB: promisify(inflate), GZIP: promisify(gunzip) };

async function decodeCompressed(op: OpCall): Promise<Tensor[]> {
  const kind = op.attrs.text("compression_type");
  check(
    kind === "" || kind === "ZLIB" || kind === "GZIP",
    () => `Only ZLIB, GZIP or NONE are supported compressions, got ${kind}`,
  );
  if (kind === "") return [op.tensor(0)];
  const column = op.strings(0);
  const out = new StringColumnBuilder(column.length);
  let total = 0;
  for (let i = 0; i < column.length; i++) {
    let bytes: Uint8Array;
    try {
      bytes = await inflaters[kind as "ZLIB" | "GZIP"](column.at(i), { maxOutputLength: OUTPUT_BYTES_MAX - total });
    } catch (error) {
      throw new ServingError("DATA_LOSS", `inflate() of string ${i} failed: ${(error as Error).message}`);
    }
    total += bytes.length;
    checkOutput("string", column.length, total);
    out.push(bytes);
  }
  return [tensor("string", op.tensor(0).shape, out.build())];
}

export const SERIALIZED_KERNELS: Readonly<Record<string, Kernel>> = {
  ParseTensor: parseTensor,
  SerializeTensor: serializeTensor,
  Fingerprint: fingerprint,
  DecodeCompressed: decodeCompressed,
};
