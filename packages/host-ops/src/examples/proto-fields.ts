/** What DecodeProtoV2 knows of a message type: the fields that a node asks for, by number. */
import {
  FeatureListSchema,
  FeatureListsSchema,
  FeatureSchema,
  FeaturesSchema,
  ExampleSchema,
  fromBinary,
  SequenceExampleSchema,
  type DescField,
  type DescMessage,
  ScalarType,
} from "@shardserve/api";
import { createFileRegistry } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type { BinaryReader } from "@bufbuild/protobuf/wire";
import type { Attrs } from "@shardserve/graph";
import type { DType } from "@shardserve/tensor";
import { check, invalid } from "../call/errors.js";

/** A value of a field as an output holds it. */
export type FieldValue = number | bigint | boolean | Uint8Array;

export interface ProtoField {
  readonly number: number;
  /** Where it stands among the outputs. */
  readonly output: number;
  readonly dtype: DType;
  readonly isRepeated: boolean;
  /** What stands where a message lacks the field. */
  readonly fallback: FieldValue;
  readonly wire: FieldWire;
}

/** How values of one type of field are written. */
export interface FieldWire {
  /** Of protobuf: 0 varint, 1 eight bytes, 2 with a length, 3 group, 5 four bytes. */
  readonly type: number;
  readonly read: (reader: BinaryReader) => FieldValue;
  /** Where packed values are others than those that stand alone. */
  readonly readPacked?: (reader: BinaryReader) => FieldValue;
  readonly dtypes: readonly DType[];
}

const big = (value: bigint | string): bigint => BigInt(value);

/** TensorFlow's own list of what may become what (tensorflow/core/util/proto/proto_utils). */
const SCALARS: Readonly<Record<ScalarType, FieldWire>> = {
  [ScalarType.DOUBLE]: { type: 1, read: (r) => r.double(), dtypes: ["float64"] },
  [ScalarType.FLOAT]: { type: 5, read: (r) => r.float(), dtypes: ["float32", "float64"] },
  [ScalarType.INT64]: { type: 0, read: (r) => big(r.int64()), dtypes: ["int64"] },
  [ScalarType.UINT64]: { type: 0, read: (r) => big(r.uint64()), dtypes: ["uint64"] },
  [ScalarType.INT32]: { type: 0, read: (r) => r.int32(), dtypes: ["int32", "int64"] },
  [ScalarType.FIXED64]: { type: 1, read: (r) => big(r.fixed64()), dtypes: ["uint64"] },
  [ScalarType.FIXED32]: { type: 5, read: (r) => r.fixed32(), dtypes: ["uint32", "uint64"] },
  [ScalarType.BOOL]: { type: 0, read: (r) => r.bool(), dtypes: ["bool"] },
  [ScalarType.STRING]: { type: 2, read: (r) => r.bytes(), dtypes: ["string"] },
  [ScalarType.BYTES]: { type: 2, read: (r) => r.bytes(), dtypes: ["string"] },
  [ScalarType.UINT32]: { type: 0, read: (r) => r.uint32(), dtypes: ["uint32", "uint64"] },
  [ScalarType.SFIXED32]: { type: 5, read: (r) => r.sfixed32(), dtypes: ["int32", "int64"] },
  [ScalarType.SFIXED64]: { type: 1, read: (r) => big(r.sfixed64()), dtypes: ["int64"] },
  [ScalarType.SINT32]: { type: 0, read: (r) => r.sint32(), dtypes: ["int32", "int64"] },
  [ScalarType.SINT64]: { type: 0, read: (r) => big(r.sint64()), dtypes: ["int64"] },
};
const ENUM: FieldWire = { type: 0, read: (r) => r.int32(), dtypes: ["int32"] };
const MESSAGE: FieldWire = { type: 2, read: (r) => r.bytes(), dtypes: ["string"] };

/** Messages that TensorFlow links, as far as anybody decodes them in a graph. */
const LINKED: readonly DescMessage[] = [
  ExampleSchema,
  SequenceExampleSchema,
  FeaturesSchema,
  FeatureSchema,
  FeatureListsSchema,
  FeatureListSchema,
];

const IN_ATTRIBUTE = "bytes://";
const utf8 = new TextEncoder();

/**
 * True, or what about a node is not known here: files of descriptors, messages as text, messages that are brought into order first.
 */
export function supportsProto({ attrs }: { readonly attrs: Attrs }): true | string {
  const format = attrs.text("message_format");
  if (format !== "binary") return `messages in the form ${format} have no host kernel`;
  if (attrs.bool("sanitize")) return "messages that are sanitised have no host kernel";
  return isKnownSource(attrs) ? true : "descriptors out of files have no host kernel";
}

function isKnownSource(attrs: Attrs): boolean {
  return isLinked(attrs) || startsWith(attrs.bytes("descriptor_source"), IN_ATTRIBUTE);
}

function isLinked(attrs: Attrs): boolean {
  const source = attrs.bytes("descriptor_source");
  return source.length === 0 || Buffer.from(source).equals(utf8.encode("local://"));
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return Buffer.from(bytes.subarray(0, text.length)).equals(utf8.encode(text));
}

/** @throws ServingError INVALID_ARGUMENT for types, fields and dtypes that do not exist or fit */
export function fieldsOf(attrs: Attrs): ProtoField[] {
  const names = attrs.texts("field_names");
  const dtypes = attrs.dtypes("output_types");
  check(names.length === dtypes.length, () => "field_names and output_types attributes must have the same length");
  const message = messageOf(attrs);
  return names.map((name, output) => {
    const field = message.fields.find((other) => other.name === name);
    if (!field) throw invalid(`Unknown field: ${name} in message type ${message.typeName}`);
    const dtype = dtypes[output]!;
    const plain = wireOf(field);
    // TensorFlow widens packed int32 without its sign.
    const isWidened = field.scalar === ScalarType.INT32 && dtype === "int64";
    const wire = isWidened ? { ...plain, readPacked: (reader: BinaryReader) => reader.uint32() } : plain;
    check(
      wire.dtypes.includes(dtype),
      () => `Unexpected output type for ${message.typeName}.${name}: ${wire.dtypes[0]} to ${dtype}`,
    );
    const isRepeated = field.fieldKind === "list";
    return { number: field.number, output, dtype, isRepeated, fallback: fallbackOf(field, dtype), wire };
  });
}

function messageOf(attrs: Attrs): DescMessage {
  const type = attrs.text("message_type");
  const found = isLinked(attrs)
    ? LINKED.find(({ typeName }) => typeName === type)
    : descriptorsOf(attrs.bytes("descriptor_source").subarray(IN_ATTRIBUTE.length)).getMessage(type);
  return found ?? invalidType(type);
}

function invalidType(type: string): never {
  throw invalid(`No descriptor found for message type ${type}`);
}

function descriptorsOf(bytes: Uint8Array): ReturnType<typeof createFileRegistry> {
  try {
    return createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
  } catch (error) {
    throw invalid(`the descriptors of a DecodeProtoV2 node cannot be read: ${(error as Error).message}`);
  }
}

function wireOf(field: DescField): FieldWire {
  const [kind, scalar] = field.fieldKind === "list" ? [field.listKind, field.scalar] : [field.fieldKind, field.scalar];
  if (kind === "scalar") return SCALARS[scalar!];
  if (kind === "enum") return ENUM;
  const isGroup = "delimitedEncoding" in field && field.delimitedEncoding;
  return isGroup ? { ...MESSAGE, type: 3 } : MESSAGE;
}

function fallbackOf(field: DescField, dtype: DType): FieldValue {
  const given = field.fieldKind === "scalar" || field.fieldKind === "enum" ? field.getDefaultValue() : undefined;
  if (given === undefined && field.enum) return field.enum.values[0]!.number;
  if (dtype === "string") {
    return typeof given === "string" ? utf8.encode(given) : given instanceof Uint8Array ? given : new Uint8Array(0);
  }
  if (typeof given === "number" || typeof given === "boolean") return given;
  return given === undefined ? 0 : BigInt(given as bigint | string);
}
