import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { ServingError } from "@shardserve/core";
import { encodeTensorProto, type Tensor } from "@shardserve/tensor";

/** tensorflow.serving.ModelSpec of a request. */
export interface ModelSpecFields {
  readonly name: string;
  /** int64; the last one set of version and label counts, as in any oneof. */
  readonly version: bigint | undefined;
  readonly label: string | undefined;
  readonly signatureName: string;
}

/** tensorflow.serving.PredictRequest with its tensors undecoded: views of the request's bytes. */
export interface PredictRequestFields {
  readonly modelSpec: ModelSpecFields | undefined;
  readonly inputs: ReadonlyMap<string, Uint8Array>;
  readonly outputFilter: readonly string[];
}

/**
 * Decodes a PredictRequest by hand: generated code goes through a plain object per map and loses the key "__proto__".
 * Unknown fields and the fields of streaming are skipped.
 *
 * @throws ServingError INVALID_ARGUMENT for bytes that are no such message
 */
export function decodePredictRequest(bytes: Uint8Array): PredictRequestFields {
  const inputs = new Map<string, Uint8Array>();
  const outputFilter: string[] = [];
  let modelSpec: ModelSpecFields | undefined;
  decodeFields("PredictRequest", bytes, (reader, field, wireType) => {
    if (wireType !== WireType.LengthDelimited) return false;
    if (field === 1) modelSpec = decodeModelSpec(reader.bytes(), modelSpec);
    else if (field === 2) decodeInput(reader.bytes(), inputs);
    else if (field === 3) outputFilter.push(reader.string());
    else return false;
    return true;
  });
  return { modelSpec, inputs, outputFilter };
}

/** No request has so many inputs, outputs or tasks; a field of two bytes may become an object of a hundred. */
const FIELDS_MAX = 100_000;

/**
 * Calls back for each field until the end; `read` consumes the value and returns true, or returns false to skip it.
 *
 * @throws ServingError INVALID_ARGUMENT for bytes that are no such message, or have too many fields
 */
export function decodeFields(
  what: string,
  bytes: Uint8Array,
  read: (reader: BinaryReader, field: number, wireType: WireType) => boolean,
): void {
  const reader = new BinaryReader(bytes);
  try {
    for (let count = 0; reader.pos < reader.len; count++) {
      if (count === FIELDS_MAX) throw new RangeError(`more than ${FIELDS_MAX} fields`);
      const [field, wireType] = reader.tag();
      if (!read(reader, field, wireType)) reader.skip(wireType, field);
    }
    if (reader.pos > reader.len) throw new RangeError("a value runs over the end");
  } catch (error) {
    if (error instanceof ServingError) throw error;
    throw new ServingError(
      "INVALID_ARGUMENT",
      `the request is no valid ${what}: ${(error as Error).message} (at byte ${reader.pos} of ${reader.len})`,
      { cause: error },
    );
  }
}

/** A second ModelSpec in the bytes merges into the first one, as protobuf demands. */
function decodeModelSpec(bytes: Uint8Array, earlier: ModelSpecFields | undefined): ModelSpecFields {
  let { name, version, label, signatureName } = earlier ?? NO_SPEC;
  decodeFields("ModelSpec", bytes, (reader, field, wireType) => {
    if (wireType !== WireType.LengthDelimited) return false;
    if (field === 1) name = reader.string();
    else if (field === 2) {
      version = decodeInt64Value(reader.bytes(), version ?? 0n);
      label = undefined;
    } else if (field === 3) signatureName = reader.string();
    else if (field === 4) {
      label = reader.string();
      version = undefined;
    } else return false;
    return true;
  });
  return { name, version, label, signatureName };
}

const NO_SPEC: ModelSpecFields = { name: "", version: undefined, label: undefined, signatureName: "" };

function decodeInt64Value(bytes: Uint8Array, earlier: bigint): bigint {
  let value = earlier;
  decodeFields("Int64Value", bytes, (reader, field, wireType) => {
    if (field !== 1 || wireType !== WireType.Varint) return false;
    value = BigInt(reader.int64());
    return true;
  });
  return value;
}

function decodeInput(bytes: Uint8Array, inputs: Map<string, Uint8Array>): void {
  let alias = "";
  let value: Uint8Array = EMPTY;
  decodeFields("PredictRequest.inputs", bytes, (reader, field, wireType) => {
    if (wireType !== WireType.LengthDelimited) return false;
    if (field === 1) alias = reader.string();
    else if (field === 2) value = reader.bytes();
    else return false;
    return true;
  });
  inputs.set(alias, value);
}

const EMPTY = new Uint8Array();

/** What a PredictResponse says of the model that answered. */
export interface AnsweredBy {
  readonly name: string;
  readonly version: number;
  readonly signatureName: string;
}

/**
 * Encodes a PredictResponse into one buffer.
 *
 * @throws ServingError RESOURCE_EXHAUSTED when the message would exceed protobuf's 2 GiB
 */
export function encodePredictResponse(
  outputs: ReadonlyMap<string, Tensor>,
  by: AnsweredBy,
  asContent: boolean,
): Buffer {
  return encodeTensorMap(outputs, 1, encodeModelSpec(by), 2, asContent);
}

/**
 * Encodes a PredictRequest that asks one version for one signature.
 *
 * @throws ServingError RESOURCE_EXHAUSTED when the message would exceed protobuf's 2 GiB
 */
export function encodePredictRequest(inputs: ReadonlyMap<string, Tensor>, of: AnsweredBy): Buffer {
  const spec = encodeModelSpec(of);
  return encodeTensorMap(inputs, 2, spec, 1, false);
}

/** A message of a map from aliases to tensors and a ModelSpec, under these field numbers. */
function encodeTensorMap(
  tensors: ReadonlyMap<string, Tensor>,
  mapField: number,
  spec: Buffer,
  specField: number,
  asContent: boolean,
): Buffer {
  const entries: { alias: Buffer; tensor: Uint8Array; bytes: number }[] = [];
  let total = 1 + varintBytes(spec.length) + spec.length;
  for (const [name, value] of tensors) {
    const alias = Buffer.from(name);
    const tensor = encodeTensorProto(value, { asContent });
    const bytes = 1 + varintBytes(alias.length) + alias.length + 1 + varintBytes(tensor.length) + tensor.length;
    entries.push({ alias, tensor, bytes });
    total += 1 + varintBytes(bytes) + bytes;
  }
  if (total > 2 ** 31 - 1) {
    throw new ServingError("RESOURCE_EXHAUSTED", `the message has ${total} bytes; protobuf carries at most 2 GiB`);
  }
  const out = Buffer.allocUnsafe(total);
  let at = 0;
  for (const { alias, tensor, bytes } of entries) {
    out[at] = (mapField << 3) | WireType.LengthDelimited;
    at = writeVarint(out, at + 1, bytes);
    at = writeBytes(out, at, 0x0a, alias);
    at = writeBytes(out, at, 0x12, tensor);
  }
  writeBytes(out, at, (specField << 3) | WireType.LengthDelimited, spec);
  return out;
}

function encodeModelSpec(by: AnsweredBy): Buffer {
  const name = Buffer.from(by.name);
  const signature = Buffer.from(by.signatureName);
  const versionBytes = by.version === 0 ? 0 : 1 + varintBytes(by.version);
  const out = Buffer.allocUnsafe(name.length + signature.length + versionBytes + 24);
  let at = writeBytes(out, 0, 0x0a, name);
  out[at] = 0x12;
  at = writeVarint(out, at + 1, versionBytes);
  if (versionBytes > 0) {
    out[at] = 0x08;
    at = writeVarint(out, at + 1, by.version);
  }
  at = writeBytes(out, at, 0x1a, signature);
  return out.subarray(0, at);
}

/** Returns the offset behind them. */
export function writeBytes(out: Buffer, at: number, tag: number, bytes: Uint8Array): number {
  out[at] = tag;
  at = writeVarint(out, at + 1, bytes.length);
  out.set(bytes, at);
  return at + bytes.length;
}

/** `value` is a safe integer >= 0. Returns the offset behind it. */
export function writeVarint(out: Buffer, at: number, value: number): number {
  while (value >= 0x80) {
    out[at++] = (value % 0x80) | 0x80;
    value = Math.floor(value / 0x80);
  }
  out[at++] = value;
  return at;
}

/** Bytes that {@link writeVarint} takes. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes++;
  return bytes;
}
