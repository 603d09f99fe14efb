import type { NumericDType } from "./tensor.js";
import { WIRE_FIXED32, WIRE_FIXED64, WIRE_VARINT } from "./wire-reader.js";

export const FIELD_DTYPE = 1;
export const FIELD_SHAPE = 2;
export const FIELD_CONTENT = 4;
export const FIELD_STRING_VAL = 8;

/** Field number and wire type of one element for each dtype's xxx_val field. */
export const VALUE_FIELDS: Record<NumericDType, readonly [field: number, wireType: number]> = {
  float32: [5, WIRE_FIXED32],
  float64: [6, WIRE_FIXED64],
  int32: [7, WIRE_VARINT],
  int16: [7, WIRE_VARINT],
  int8: [7, WIRE_VARINT],
  uint8: [7, WIRE_VARINT],
  uint16: [7, WIRE_VARINT],
  qint8: [7, WIRE_VARINT],
  quint8: [7, WIRE_VARINT],
  qint16: [7, WIRE_VARINT],
  quint16: [7, WIRE_VARINT],
  qint32: [7, WIRE_VARINT],
  complex64: [9, WIRE_FIXED32],
  int64: [10, WIRE_VARINT],
  bool: [11, WIRE_VARINT],
  complex128: [12, WIRE_FIXED64],
  float16: [13, WIRE_VARINT],
  bfloat16: [13, WIRE_VARINT],
  uint32: [16, WIRE_VARINT],
  uint64: [17, WIRE_VARINT],
};
