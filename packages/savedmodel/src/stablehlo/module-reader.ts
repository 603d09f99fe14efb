import { at, BytecodeReader, malformed, readStrings } from "./bytecode.js";
import {
  type HloAttr,
  HloAttrs,
  type HloFunction,
  type HloModule,
  type HloOp,
  type HloRegion,
  type HloValue,
} from "./ir.js";
import { AttributeTable, type TableEntry } from "./vhlo-attributes.js";
import { propertyNames } from "./vhlo-properties.js";

const MAGIC = [0x4d, 0x4c, 0xef, 0x52];
/** What was written by a newer MLIR is refused: StableHLO promises that artifacts are written for an old one. */
const VERSION_MAX = 6;
/** Regions deeper than this inside one another are refused. */
const DEPTH_MAX = 200;

const SECTION = {
  strings: 0,
  dialects: 1,
  attributes: 2,
  attributeOffsets: 3,
  ir: 4,
  dialectVersion: 7,
  properties: 8,
};

/** Versions of the bytecode from which on something is encoded. */
const SINCE = { dialectVersions: 1, isolatedSections: 2, useListOrders: 3, elidedLocations: 4, properties: 5 };

/** Bits of an op's mask. */
const HAS = { attrs: 1, results: 2, operands: 4, successors: 8, regions: 16, useListOrders: 32, properties: 64 };

/**
 * Reads a StableHLO portable artifact: MLIR bytecode of the dialect VHLO (openxla.org/stablehlo/bytecode). Time and memory are
 * linear in the bytes, whatever they say; the constants of the result alias them.
 *
 * @throws ServingError GRAPH_INVALID for anything else
 */
export function readStableHlo(bytes: Uint8Array): HloModule {
  const file = new BytecodeReader(bytes);
  if (MAGIC.some((value, i) => bytes[i] !== value)) throw malformed("it is no MLIR bytecode");
  file.take(MAGIC.length);
  const version = file.varint();
  if (version > VERSION_MAX) throw malformed(`its bytecode has version ${version}, ${VERSION_MAX} is the newest known`);
  file.cString(); // the producer
  const sections = new Map<number, BytecodeReader>();
  while (file.remaining > 0) {
    const { id, data } = file.section();
    if (sections.has(id)) throw malformed(`two sections ${id}`);
    sections.set(id, data);
  }
  const need = (id: number): BytecodeReader => {
    const section = sections.get(id);
    if (!section) throw malformed(`section ${id} is missing`);
    return section;
  };
  const strings = readStrings(need(SECTION.strings));
  const names = readNames(need(SECTION.dialects), strings, version);
  const entries = readEntries(need(SECTION.attributeOffsets), need(SECTION.attributes), names.dialects);
  const table = new AttributeTable(strings, entries.attributes, entries.types);
  const properties = readProperties(sections.get(SECTION.properties));
  return new ModuleReader(version, names.ops, table, properties).read(need(SECTION.ir));
}

interface OpName {
  readonly dialect: string;
  readonly name: string;
}

function readNames(
  section: BytecodeReader,
  strings: readonly string[],
  version: number,
): { readonly dialects: readonly string[]; readonly ops: readonly OpName[] } {
  const dialects = section.list(() => {
    if (version < SINCE.dialectVersions) return at(strings, section.varint(), "text");
    const { value, flag } = section.flagged();
    if (flag && section.section().id !== SECTION.dialectVersion) throw malformed("a dialect without its version");
    return at(strings, value, "text");
  });
  const ops: OpName[] = [];
  if (version >= SINCE.elidedLocations) section.varint(); // the number of ops
  while (section.remaining > 0) {
    const dialect = at(dialects, section.varint(), "dialect");
    for (let left = section.count(); left > 0; left--) {
      const index = version >= SINCE.properties ? section.flagged().value : section.varint();
      ops.push({ dialect, name: at(strings, index, "text") });
    }
  }
  return { dialects, ops };
}

function readEntries(
  offsets: BytecodeReader,
  data: BytecodeReader,
  dialects: readonly string[],
): { readonly attributes: readonly TableEntry[]; readonly types: readonly TableEntry[] } {
  const [attributeCount, typeCount] = [offsets.varint(), offsets.varint()];
  const read = (count: number): TableEntry[] => {
    const entries: TableEntry[] = [];
    while (entries.length < count) {
      const dialect = at(dialects, offsets.varint(), "dialect");
      for (let left = offsets.count(); left > 0; left--) {
        const { value, flag } = offsets.flagged();
        entries.push({ dialect, isCustom: flag, data: data.sub(value) });
      }
    }
    return entries;
  };
  return { attributes: read(attributeCount), types: read(typeCount) };
}

function readProperties(section: BytecodeReader | undefined): readonly BytecodeReader[] {
  if (!section || section.remaining === 0) return [];
  return section.list(() => section.sub(section.varint()));
}

/** Where values are numbered from zero: a module, or a region that sees nothing of what is around it. */
type Scope = (HloValue | undefined)[];

/** Reads ops with their regions. Locations are passed over. */
class ModuleReader {
  readonly #version: number;
  readonly #names: readonly OpName[];
  readonly #table: AttributeTable;
  readonly #properties: readonly BytecodeReader[];
  #depth = 0;

  constructor(version: number, names: readonly OpName[], table: AttributeTable, properties: readonly BytecodeReader[]) {
    this.#version = version;
    this.#names = names;
    this.#table = table;
    this.#properties = properties;
  }

  read(section: BytecodeReader): HloModule {
    const { ops } = this.#block(section, [], 0);
    const [module] = ops;
    if (ops.length !== 1 || module?.name !== "module") throw malformed("it holds no module");
    const functions = new Map<string, HloFunction>();
    for (const op of module.regions[0]?.ops ?? []) {
      if (op.name !== "func") continue;
      const [name, body] = [op.attrs.text("sym_name"), op.regions[0]];
      if (functions.has(name)) throw malformed(`two functions "${name}"`);
      if (body) functions.set(name, { name, body });
    }
    return { functions };
  }

  #region(reader: BytecodeReader, scope: Scope): HloRegion {
    const blocks = reader.varint();
    if (blocks === 0) return { args: [], ops: [] };
    if (blocks > 1) throw malformed(`a region of ${blocks} blocks`);
    const first = scope.length;
    // Every value that a region defines takes a byte of it.
    const count = reader.count();
    for (let i = 0; i < count; i++) scope.push(undefined);
    const region = this.#block(reader, scope, first);
    scope.length = first;
    return region;
  }

  /** @param first  position in the scope of the first value that the block defines */
  #block(reader: BytecodeReader, scope: Scope, first: number): HloRegion {
    const { value: count, flag: hasArgs } = reader.flagged();
    let next = first;
    const define = (values: readonly HloValue[]): void => {
      if (next + values.length > scope.length) throw malformed("a region defines more values than it says");
      for (const value of values) scope[next++] = value;
    };
    const args = hasArgs ? reader.list(() => this.#argument(reader)) : [];
    define(args);
    if (hasArgs && this.#version >= SINCE.useListOrders && reader.byte() !== 0) skipUseLists(reader, args.length);
    const ops: HloOp[] = [];
    for (let left = count; left > 0; left--) ops.push(this.#op(reader, scope, define));
    return { args, ops };
  }

  #argument(reader: BytecodeReader): HloValue {
    if (this.#version < SINCE.elidedLocations) {
      const type = this.#table.type(reader.varint());
      reader.varint();
      return { type };
    }
    const { value, flag } = reader.flagged();
    if (flag) reader.varint();
    return { type: this.#table.type(value) };
  }

  #op(reader: BytecodeReader, scope: Scope, define: (values: readonly HloValue[]) => void): HloOp {
    const { dialect, name: versioned } = at(this.#names, reader.varint(), "op");
    const mask = reader.byte();
    reader.varint(); // the location
    const attrs = new Map<string, HloAttr>();
    if (mask & HAS.attrs) {
      const dictionary = this.#table.attribute(reader.varint());
      if (dictionary.kind === "dictionary") for (const [name, value] of dictionary.entries) attrs.set(name, value);
    }
    if (mask & HAS.properties) this.#readProperties(reader.varint(), dialect, versioned, attrs);
    const results = mask & HAS.results ? reader.list(() => ({ type: this.#table.type(reader.varint()) })) : [];
    const operands = mask & HAS.operands ? reader.list(() => at(scope, reader.varint(), "value")) : [];
    if (mask & HAS.successors) throw malformed("a jump between blocks");
    if (mask & HAS.useListOrders) skipUseLists(reader, results.length);
    const isOpen = (mask & HAS.regions) !== 0;
    const { value: regionCount, flag: isIsolated } = isOpen ? reader.flagged() : { value: 0, flag: false };
    define(results);
    const regions = this.#regions(reader, regionCount, isIsolated, scope);
    const name = versioned.replace(/_v\d+$/, "");
    return { name, operands, results, attrs: new HloAttrs(name, attrs), regions };
  }

  #regions(reader: BytecodeReader, count: number, isIsolated: boolean, outer: Scope): readonly HloRegion[] {
    if (count === 0) return [];
    if (++this.#depth > DEPTH_MAX) throw malformed(`regions nested deeper than ${DEPTH_MAX}`);
    const isSection = isIsolated && this.#version >= SINCE.isolatedSections;
    const source = isSection ? reader.section() : undefined;
    if (source && source.id !== SECTION.ir) throw malformed("a region without its section");
    const inner = source?.data ?? reader;
    if (count > inner.remaining) throw malformed(`${count} regions in ${inner.remaining} bytes`);
    const scope = isIsolated ? [] : outer;
    const regions = Array.from({ length: count }, () => this.#region(inner, scope));
    this.#depth--;
    return regions;
  }

  #readProperties(index: number, dialect: string, op: string, attrs: Map<string, HloAttr>): void {
    if (dialect !== "vhlo") return;
    const reader = at(this.#properties, index, "property").fork();
    for (const name of propertyNames(op)) attrs.set(name, this.#table.attribute(reader.varint()));
  }
}

/** The order in which uses of values are listed concerns no reader but MLIR's own. */
function skipUseLists(reader: BytecodeReader, valueCount: number): void {
  const count = valueCount > 1 ? reader.count() : 1;
  for (let i = 0; i < count; i++) {
    if (valueCount > 1) reader.varint();
    for (let left = reader.flagged().value; left > 0; left--) reader.varint();
  }
}
