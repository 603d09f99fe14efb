import {
  type DescField,
  type DescMessage,
  type MessageShape,
  type ReflectList,
  type ReflectMap,
  type ReflectMessage,
  reflect,
  type ScalarType,
  create,
  scalarZeroValue,
} from "@shardserve/api";
import { describe, TextScanner } from "./text-scanner.js";
import { readEnum, readScalar } from "./text-values.js";

/** Messages within messages; deeper input is refused. */
const DEPTH_MAX = 64;

type MapField = DescField & { fieldKind: "map" };
type ListField = DescField & { fieldKind: "list" };

/**
 * Reads protobuf's text format, which TensorFlow Serving's configuration files are written in
 * (https://protobuf.dev/reference/protobuf/textformat-spec). Strict as its own parser: unknown fields, a singular field
 * given twice and a second member of a oneof are refused. Extensions and the expanded form of Any are not read.
 *
 * @param where  what is read, for messages: a file's name
 * @throws ServingError CONFIG_INVALID "WHERE:LINE:COLUMN: ..."
 */
export function parseTextFormat<D extends DescMessage>(schema: D, text: string, where: string): MessageShape<D> {
  const message = create(schema);
  new TextParser(new TextScanner(text, where)).readFields(reflect(schema, message), undefined, 0);
  return message;
}

class TextParser {
  readonly #scanner: TextScanner;

  constructor(scanner: TextScanner) {
    this.#scanner = scanner;
  }

  /** Fields up to the closing symbol, or to the end of the input. */
  readFields(message: ReflectMessage, close: string | undefined, depth: number): void {
    const scanner = this.#scanner;
    const seen = new Set<DescField>();
    while (!this.#isClosed(close)) {
      const { kind, text, at } = scanner.next();
      if (kind !== "name") {
        const what = text === "[" ? "extensions and expanded Any messages are not read" : "expected a field's name";
        throw scanner.error(`${what}, found ${describe({ kind, text, at })}`, at);
      }
      const field = message.fields.find((candidate) => candidate.name === text);
      if (!field) {
        const known = message.fields.map((candidate) => candidate.name).join(", ");
        throw scanner.error(`${message.desc.typeName} has no field "${text}"; it has ${known || "none"}`, at);
      }
      const isRepeated = field.fieldKind === "list" || field.fieldKind === "map";
      if (!isRepeated && seen.has(field)) throw scanner.error(`the field "${text}" is given twice`, at);
      const rival = field.oneof && message.oneofCase(field.oneof);
      if (rival && rival !== field) {
        throw scanner.error(`"${text}" and "${rival.name}" exclude each other (oneof ${field.oneof!.name})`, at);
      }
      seen.add(field);
      this.#readField(message, field, depth);
      if (!scanner.accept(",")) scanner.accept(";");
    }
  }

  #isClosed(close: string | undefined): boolean {
    const scanner = this.#scanner;
    if (close !== undefined) {
      if (scanner.peek.kind === "end") throw scanner.error(`expected "${close}", found the end`);
      return scanner.accept(close);
    }
    return scanner.peek.kind === "end";
  }

  #readField(message: ReflectMessage, field: DescField, depth: number): void {
    const scanner = this.#scanner;
    const isMessage = field.message !== undefined || field.fieldKind === "map";
    if (!scanner.accept(":") && !isMessage) throw scanner.error(`expected ":", found ${describe(scanner.peek)}`);
    switch (field.fieldKind) {
      case "message":
        return message.set(field, this.#readMessage(field.message, depth));
      case "enum":
        return message.set(field, readEnum(scanner, field.enum));
      case "scalar":
        return message.set(field, readScalar(scanner, field.scalar));
      case "list": {
        const list = message.get(field) as ReflectList;
        return this.#readValues(() => list.add(this.#readItem(field, depth)));
      }
      case "map": {
        const map = message.get(field) as ReflectMap;
        return this.#readValues(() => this.#readEntry(map, field, depth));
      }
    }
  }

  /** One value, or several in square brackets. */
  #readValues(readOne: () => void): void {
    const scanner = this.#scanner;
    if (!scanner.accept("[")) return readOne();
    if (scanner.accept("]")) return;
    do readOne();
    while (scanner.accept(","));
    scanner.expect("]");
  }

  #readItem(field: ListField | MapField, depth: number): unknown {
    if (field.message) return this.#readMessage(field.message, depth);
    return field.enum ? readEnum(this.#scanner, field.enum) : readScalar(this.#scanner, field.scalar as ScalarType);
  }

  #readMessage(desc: DescMessage, depth: number): ReflectMessage {
    const close = this.#open(depth);
    const message = reflect(desc);
    this.readFields(message, close, depth + 1);
    return message;
  }

  /** Enters a message; returns the symbol that ends it. */
  #open(depth: number): string {
    const scanner = this.#scanner;
    if (depth >= DEPTH_MAX) throw scanner.error(`more than ${DEPTH_MAX} messages within each other`);
    if (scanner.accept("<")) return ">";
    scanner.expect("{");
    return "}";
  }

  /** `{ key: K value: V }`; one that is left out is its type's zero. */
  #readEntry(map: ReflectMap, field: MapField, depth: number): void {
    const scanner = this.#scanner;
    const close = this.#open(depth);
    let key: unknown;
    let value: unknown;
    while (!this.#isClosed(close)) {
      const { kind, text, at } = scanner.next();
      if (kind !== "name" || (text !== "key" && text !== "value")) {
        throw scanner.error(`an entry of "${field.name}" has the fields key and value only`, at);
      }
      if ((text === "key" ? key : value) !== undefined) throw scanner.error(`the field "${text}" is given twice`, at);
      const isMessage = text === "value" && field.message !== undefined;
      if (!scanner.accept(":") && !isMessage) throw scanner.error(`expected ":", found ${describe(scanner.peek)}`);
      if (text === "key") key = readScalar(scanner, field.mapKey);
      else value = this.#readItem(field, depth + 1);
      if (!scanner.accept(",")) scanner.accept(";");
    }
    map.set(key ?? zeroOf(field.mapKey), value ?? (field.message ? reflect(field.message) : zeroOfItem(field)));
  }
}

function zeroOfItem(field: MapField): unknown {
  return field.enum ? field.enum.values[0]!.number : zeroOf(field.scalar as ScalarType);
}

function zeroOf(type: ScalarType): unknown {
  return scalarZeroValue(type, false);
}
