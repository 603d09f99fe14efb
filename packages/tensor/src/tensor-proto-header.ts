import { ServingError } from "@shardserve/core";
import { type DType, dtypeFromTf } from "./dtype.js";
import { FIELD_CONTENT, FIELD_DTYPE, FIELD_SHAPE } from "./tensor-proto-fields.js";
import { WIRE_BYTES, WIRE_VARINT, WireReader } from "./wire-reader.js";

const RANK_MAX = 254; // TensorShape::MaxDimensions

/** What a TensorProto says of its elements. */
export interface TensorHeader {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** `tensor_content` is bytes [contentStart, contentEnd) of the message; empty = there is none. */
  readonly contentStart: number;
  readonly contentEnd: number;
}

/**
 * Reads a TensorProto but for its values.
 *
 * @throws ServingError INVALID_ARGUMENT for malformed bytes, an unknown dtype and a negative or absurd shape
 */
export function readHeader(bytes: Uint8Array): TensorHeader {
  const reader = new WireReader(bytes);
  const shape: number[] = [];
  let tfDType = 0;
  let unknownRank = false;
  let contentStart = 0;
  let contentEnd = 0;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === ((FIELD_DTYPE << 3) | WIRE_VARINT)) {
      tfDType = reader.varint();
    } else if (tag === ((FIELD_SHAPE << 3) | WIRE_BYTES)) {
      const end = reader.length() + reader.position;
      unknownRank = readShape(new WireReader(bytes, reader.position, end), shape) || unknownRank;
      reader.position = end;
    } else if (tag === ((FIELD_CONTENT << 3) | WIRE_BYTES)) {
      contentEnd = reader.length() + reader.position;
      contentStart = reader.position;
      reader.position = contentEnd;
    } else {
      reader.skip(tag & 7);
    }
  }
  if (!(tfDType > 0 && tfDType <= 100)) throw new ServingError("INVALID_ARGUMENT", `a tensor of DataType ${tfDType}`);
  return { dtype: dtypeFromTf(tfDType), shape: unknownRank ? [] : shape, contentStart, contentEnd };
}

/** Appends the dims of a TensorShapeProto; returns its unknown_rank. */
function readShape(reader: WireReader, shape: number[]): boolean {
  let unknownRank = false;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === ((3 << 3) | WIRE_VARINT)) {
      unknownRank = reader.varint() !== 0;
    } else if (tag === ((2 << 3) | WIRE_BYTES)) {
      const end = reader.length() + reader.position;
      const dim = readDim(new WireReader(reader.bytes, reader.position, end));
      if (!(dim <= Number.MAX_SAFE_INTEGER)) {
        throw new ServingError("INVALID_ARGUMENT", `dimension ${shape.length} of a tensor is negative or too large`);
      }
      if (shape.push(dim) > RANK_MAX) {
        throw new ServingError("INVALID_ARGUMENT", `a tensor has more than ${RANK_MAX} dimensions`);
      }
      reader.position = end;
    } else {
      reader.skip(tag & 7);
    }
  }
  return unknownRank;
}

function readDim(reader: WireReader): number {
  let size = 0;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === ((1 << 3) | WIRE_VARINT)) size = reader.varint();
    else reader.skip(tag & 7);
  }
  return size;
}
