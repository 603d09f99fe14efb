import type { DType } from "@shardserve/tensor";
import { at, type BytecodeReader, malformed } from "./bytecode.js";
import type { ElementType, HloAttr, HloTensorType, HloType } from "./ir.js";

/** Attributes and types deeper than this inside one another are refused. */
const DEPTH_MAX = 64;

/** An entry of the table of attributes and types: whose it is and where it lies. */
export interface TableEntry {
  readonly dialect: string;
  /** Encoded by its dialect; else it is text in MLIR's syntax. */
  readonly isCustom: boolean;
  readonly data: BytecodeReader;
}

/**
 * The attributes and types of a module, decoded where they are asked for and then kept. The codes are those of
 * stablehlo/dialect/VhloBytecode.cpp; of other dialects there is nothing that serving needs but names.
 */
export class AttributeTable {
  readonly #strings: readonly string[];
  readonly #attributes: readonly TableEntry[];
  readonly #types: readonly TableEntry[];
  readonly #knownAttributes: (HloAttr | undefined)[] = [];
  readonly #knownTypes: (HloType | undefined)[] = [];
  #depth = 0;

  constructor(strings: readonly string[], attributes: readonly TableEntry[], types: readonly TableEntry[]) {
    this.#strings = strings;
    this.#attributes = attributes;
    this.#types = types;
  }

  attribute(index: number): HloAttr {
    const entry = at(this.#attributes, index, "attribute");
    return (this.#knownAttributes[index] ??= this.#nested(() => this.#decodeAttribute(entry)));
  }

  type(index: number): HloType {
    const entry = at(this.#types, index, "type");
    return (this.#knownTypes[index] ??= this.#nested(() => this.#decodeType(entry)));
  }

  /** An entry that refers to itself is nested without end. */
  #nested<T>(decode: () => T): T {
    if (++this.#depth > DEPTH_MAX) throw malformed(`attributes nested deeper than ${DEPTH_MAX}`);
    try {
      return decode();
    } finally {
      this.#depth--;
    }
  }

  #decodeAttribute({ dialect, isCustom, data }: TableEntry): HloAttr {
    if (!isCustom) return { kind: "other" };
    const reader = data.fork();
    if (dialect === "vhlo") return this.#vhloAttribute(reader);
    return dialect === "builtin" ? this.#builtinAttribute(reader) : { kind: "other" };
  }

  #vhloAttribute(reader: BytecodeReader): HloAttr {
    const code = reader.varint();
    switch (code) {
      case 1:
        return { kind: "array", items: reader.list(() => this.attribute(reader.varint())) };
      case 2:
        return { kind: "boolean", value: reader.varint() === 1 };
      case 6:
        return this.#dictionary(reader);
      case 8:
        return float(this.type(reader.varint()), reader);
      case 9:
        return integer(this.type(reader.varint()), reader);
      case 14:
        return { kind: "string", value: at(this.#strings, reader.varint(), "text") };
      case 15:
        return this.#tensor(reader);
      case 17:
        return { kind: "type", type: this.type(reader.varint()) };
      // Directions and types of comparisons, API versions, kinds of FFT, precisions, random numbers, transposes.
      case 3:
      case 4:
      case 5:
      case 7:
      case 11:
      case 12:
      case 13:
      case 16:
        return { kind: "enum", value: reader.varint() };
      default:
        return { kind: "other" };
    }
  }

  /** The dictionaries in which ops keep attributes are MLIR's own, also where the attributes are not. */
  #builtinAttribute(reader: BytecodeReader): HloAttr {
    switch (reader.varint()) {
      case 1:
        return this.#dictionary(reader);
      case 2:
        return { kind: "string", value: at(this.#strings, reader.varint(), "text") };
      default:
        return { kind: "other" };
    }
  }

  #dictionary(reader: BytecodeReader): HloAttr {
    const entries = reader.list(() => {
      const name = this.attribute(reader.varint());
      const value = this.attribute(reader.varint());
      if (name.kind !== "string") throw malformed("an attribute's name is no text");
      return [name.value, value] as const;
    });
    return { kind: "dictionary", entries: new Map(entries) };
  }

  #tensor(reader: BytecodeReader): HloAttr {
    const type = this.type(reader.varint());
    const bytes = reader.take(reader.varint());
    if (type.kind !== "tensor") throw malformed("a constant that is no tensor");
    return { kind: "tensor", type, bytes: type.element.dtype === "bool" ? unpacked(type, bytes) : bytes };
  }

  #decodeType({ dialect, isCustom, data }: TableEntry): HloType {
    if (!isCustom || dialect !== "vhlo") return { kind: "other", name: `a type of dialect "${dialect}"` };
    const reader = data.fork();
    const code = reader.varint();
    const element = ELEMENTS[code];
    if (element) return element;
    const types = (): HloType[] => reader.list(() => this.type(reader.varint()));
    switch (code) {
      case 1:
        return complex(this.type(reader.varint()));
      case 8:
        return { kind: "function", inputs: types(), results: types() };
      case 20:
        return this.#rankedTensor(reader);
      case 21:
        // The encoding gives bounds of dynamic dimensions; shapes here need none.
        reader.varint();
        return this.#rankedTensor(reader);
      case 23:
        return { kind: "tuple", types: types() };
      default:
        return { kind: "other", name: OTHERS[code] ?? `type ${code} of VHLO` };
    }
  }

  #rankedTensor(reader: BytecodeReader): HloType {
    const shape = reader.list(() => dimension(reader.signedVarint()));
    const element = this.type(reader.varint());
    if (element.kind !== "element") {
      return {
        kind: "other",
        name: element.kind === "other" ? `a tensor of ${element.name}` : "a tensor of no numbers",
      };
    }
    if (shape.length > RANK_MAX) throw malformed(`a tensor of rank ${shape.length}`);
    return { kind: "tensor", shape, element };
  }
}

const RANK_MAX = 64;
const DYNAMIC = -(2n ** 63n);

function dimension(value: bigint): number {
  if (value === DYNAMIC) return -1;
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed(`a dimension of ${value}`);
  return Number(value);
}

function element(name: string, dtype?: DType): ElementType {
  return { kind: "element", name, dtype };
}

/** By type code. */
const ELEMENTS: Readonly<Record<number, ElementType>> = {
  0: element("i1", "bool"),
  2: element("bf16", "bfloat16"),
  3: element("f16", "float16"),
  4: element("f32", "float32"),
  5: element("f64", "float64"),
  6: element("f8E4M3FN"),
  7: element("f8E5M2"),
  9: element("index", "int64"),
  10: element("i4"),
  11: element("i8", "int8"),
  12: element("i16", "int16"),
  13: element("i32", "int32"),
  14: element("i64", "int64"),
  15: element("ui4"),
  16: element("ui8", "uint8"),
  17: element("ui16", "uint16"),
  18: element("ui32", "uint32"),
  19: element("ui64", "uint64"),
  27: element("f8E4M3FNUZ"),
  28: element("f8E5M2FNUZ"),
  29: element("f8E4M3B11FNUZ"),
  31: element("i2"),
  32: element("ui2"),
  34: element("tf32"),
  35: element("f8E4M3"),
  36: element("f8E3M4"),
};

const OTHERS: Readonly<Record<number, string>> = {
  22: "a token",
  24: "a quantised element",
  25: "a tensor of unknown rank",
  30: "a quantised element",
};

function complex(part: HloType): HloType {
  const dtype = part.kind === "element" ? COMPLEX[part.name] : undefined;
  return dtype ? element(`complex<${(part as ElementType).name}>`, dtype) : { kind: "other", name: "a complex number" };
}

const COMPLEX: Readonly<Record<string, DType>> = { f32: "complex64", f64: "complex128" };

/** Values of up to 8 bits are a byte, others a zigzag varint; integers stand for their signed reading. */
function integer(type: HloType, reader: BytecodeReader): HloAttr {
  const bits =
    type.kind === "element" ? Number(/^u?i(\d+)$/.exec(type.name)?.[1] ?? (type.name === "index" ? 64 : 0)) : 0;
  if (bits === 0) return { kind: "other" };
  return { kind: "integer", value: bits <= 8 ? BigInt.asIntN(8, BigInt(reader.byte())) : reader.signedVarint() };
}

function float(type: HloType, reader: BytecodeReader): HloAttr {
  const dtype = type.kind === "element" ? type.dtype : undefined;
  if (dtype !== "float32" && dtype !== "float64") return { kind: "other" };
  const view = new DataView(new ArrayBuffer(8));
  view.setBigInt64(0, reader.signedVarint(), true);
  return { kind: "float", value: dtype === "float32" ? view.getFloat32(0, true) : view.getFloat64(0, true) };
}

/** Bools, of which the bytes hold eight each, as one byte each; a single one stands for all of them. */
function unpacked(type: HloTensorType, bytes: Uint8Array): Uint8Array {
  const count = type.shape.reduce((a, b) => a * b, 1);
  if (bytes.length === 1 && bytes[0] === 0xff) return Uint8Array.of(1);
  if (bytes.length === count || bytes.length !== Math.ceil(count / 8)) return bytes;
  return Uint8Array.from({ length: count }, (_, i) => (bytes[i >> 3]! >> (i & 7)) & 1);
}
