/**
 * Parses saved_model.pb piece by piece. One call of protobuf's parser takes a tenth of a second for 2 MB of graph; here
 * nodes and functions are parsed one by one, and the event loop gets its turn in between. What stands
 * beside them, unknown fields included, is left to the parser as it is.
 *
 * Functions that the graph does not call, in Keras exports most of them (training, gradients, the call of each layer), are
 * not parsed: they stay what they are on the wire, as unknown fields of the library, and are written again like that.
 */
import {
  type DescMessage,
  fromBinary,
  type FunctionDef,
  type FunctionDefLibrary,
  FunctionDefLibrarySchema,
  FunctionDefSchema,
  type GraphDef,
  GraphDefSchema,
  type MessageShape,
  type MetaGraphDef,
  MetaGraphDefSchema,
  type NodeDef,
  NodeDefSchema,
  type SavedModel,
  SavedModelSchema,
} from "@shardserve/api";
import { eachInPieces, type Pieces, ServingError } from "@shardserve/core";
import { WIRE_BYTES, type WireField, wireFields, WireReader } from "@shardserve/tensor";
import { calledFunctions } from "./called-functions.js";

// Fields of FunctionDefLibrary, FunctionDef and OpDef.
const FUNCTION = 1;
const SIGNATURE = 1;
const SIGNATURE_NAME = 1;

/** @throws ServingError SAVED_MODEL_INVALID naming `path` and the byte near which the encoding breaks */
export function parseSavedModel(path: string, bytes: Uint8Array): Pieces<SavedModel> {
  return new Parser(path, bytes).savedModel();
}

class Parser {
  readonly #path: string;
  readonly #bytes: Uint8Array;

  constructor(path: string, bytes: Uint8Array) {
    this.#path = path;
    this.#bytes = bytes;
  }

  *savedModel(): Pieces<SavedModel> {
    const { rest, parts } = yield* this.#split(this.#bytes, 2);
    const model = this.#parse(SavedModelSchema, rest);
    for (const part of parts[0]!) model.metaGraphs.push(yield* this.#metaGraph(part));
    return model;
  }

  *#metaGraph(bytes: Uint8Array): Pieces<MetaGraphDef> {
    const { rest, parts } = yield* this.#split(bytes, 2);
    yield;
    const metaGraph = this.#parse(MetaGraphDefSchema, rest);
    const graph = parts[0]!.at(-1);
    if (graph) metaGraph.graphDef = yield* this.#graph(graph);
    return metaGraph;
  }

  *#graph(bytes: Uint8Array): Pieces<GraphDef> {
    const { rest, parts } = yield* this.#split(bytes, 1, 2);
    const graph = this.#parse(GraphDefSchema, rest);
    graph.node = yield* this.#nodes(parts[0]!);
    const library = parts[1]!.at(-1);
    if (library) graph.library = yield* this.#library(library, graph.node);
    return graph;
  }

  /** @param callers  nodes of the main graph: what they call, and what that calls in turn, is parsed */
  *#library(bytes: Uint8Array, callers: readonly NodeDef[]): Pieces<FunctionDefLibrary> {
    const library = this.#parse(FunctionDefLibrarySchema, (yield* this.#split(bytes, FUNCTION)).rest);
    const unread = new Map<string, WireField[]>();
    for (const field of yield* this.#fields(bytes, FUNCTION)) {
      const name = yield* this.#functionName(valueOf(bytes, field));
      const same = unread.get(name);
      if (same) same.push(field);
      else unread.set(name, [field]);
      yield;
    }
    for (let nodes = callers; nodes.length > 0; ) {
      const called = new Set<string>();
      yield* eachInPieces(nodes, (node) => {
        for (const name of calledFunctions(node)) if (unread.has(name)) called.add(name);
      });
      const fresh: NodeDef[] = [];
      for (const name of called) {
        for (const field of unread.get(name)!) {
          const definition = yield* this.#function(valueOf(bytes, field));
          library.function.push(definition);
          for (const node of definition.nodeDef) fresh.push(node);
        }
        unread.delete(name);
      }
      nodes = fresh;
    }
    // As protobuf keeps a field that it does not know: its bytes behind their length.
    const kept = [...unread.values()].flat().map(({ lengthStart, end }) => bytes.subarray(lengthStart, end));
    const unknown = kept.map((data) => ({ no: FUNCTION, wireType: WIRE_BYTES, data }));
    library.$unknown = [...(library.$unknown ?? []), ...unknown];
    return library;
  }

  *#functionName(definition: Uint8Array): Pieces<string> {
    const signature = (yield* this.#fields(definition, SIGNATURE)).at(-1);
    if (!signature) return "";
    const bytes = valueOf(definition, signature);
    const name = (yield* this.#fields(bytes, SIGNATURE_NAME)).at(-1);
    return name ? Buffer.from(valueOf(bytes, name)).toString() : "";
  }

  *#function(bytes: Uint8Array): Pieces<FunctionDef> {
    const { rest, parts } = yield* this.#split(bytes, 3);
    yield;
    const definition = this.#parse(FunctionDefSchema, rest);
    definition.nodeDef = yield* this.#nodes(parts[0]!);
    return definition;
  }

  *#nodes(parts: readonly Uint8Array[]): Pieces<NodeDef[]> {
    const nodes: NodeDef[] = [];
    for (const part of parts) {
      nodes.push(this.#parse(NodeDefSchema, part));
      yield;
    }
    return nodes;
  }

  #parse<D extends DescMessage>(schema: D, bytes: Uint8Array): MessageShape<D> {
    try {
      return fromBinary(schema, bytes);
    } catch (cause) {
      throw this.#invalid(bytes, 0, `${schema.typeName}: ${(cause as Error).message}`, cause);
    }
  }

  /** Takes the occurrences of length-delimited fields out of a message; `rest` is the message without them. */
  *#split(bytes: Uint8Array, ...numbers: number[]): Pieces<{ rest: Uint8Array; parts: Uint8Array[][] }> {
    const parts: Uint8Array[][] = numbers.map(() => []);
    const kept: Uint8Array[] = [];
    for (const field of yield* this.#fields(bytes)) {
      const taken = field.isDelimited ? numbers.indexOf(field.number) : -1;
      if (taken === -1) kept.push(bytes.subarray(field.start, field.end));
      else parts[taken]!.push(valueOf(bytes, field));
    }
    return { rest: kept.length === 1 ? kept[0]! : Buffer.concat(kept), parts };
  }

  /** The fields of a message: all, or the length-delimited ones of a number. */
  *#fields(bytes: Uint8Array, number?: number): Pieces<WireField[]> {
    const fields: WireField[] = [];
    const reader = new WireReader(bytes);
    try {
      yield* eachInPieces(wireFields(reader), (field) => {
        if (number === undefined || (field.isDelimited && field.number === number)) fields.push(field);
      });
      return fields;
    } catch (cause) {
      throw this.#invalid(bytes, reader.position, (cause as Error).message, cause);
    }
  }

  #invalid(bytes: Uint8Array, offset: number, what: string, cause: unknown): ServingError {
    // Most messages are views of the file; what stood beside the split fields was copied and has no place of its own.
    const isView = bytes.buffer === this.#bytes.buffer;
    const at = isView ? `, byte ${bytes.byteOffset - this.#bytes.byteOffset + offset}` : "";
    const message = `${this.#path}${at}: not a SavedModel (${what}); export the model again`;
    return new ServingError("SAVED_MODEL_INVALID", message, { cause });
  }
}

function valueOf(bytes: Uint8Array, { valueStart, end }: WireField): Uint8Array {
  return bytes.subarray(valueStart, end);
}
