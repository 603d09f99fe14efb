/**
 * Parses saved_model.pb piece by piece. One call of protobuf's parser takes a tenth of a second for 2 MB of graph; here
 * nodes and functions are parsed one by one and the event loop gets its turn every few milliseconds. What stands
 * beside them, unknown fields included, is left to the parser as it is.
 */
import { setImmediate } from "node:timers/promises";
import {
  type DescMessage,
  fromBinary,
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
import { ServingError } from "@shardserve/core";
import { WIRE_BYTES, WireReader } from "@shardserve/tensor";

const YIELD_BYTES = 16 * 1024; // 1 ms of parsing, 5 ms before the code is compiled

/** @throws ServingError SAVED_MODEL_INVALID naming `path` and the byte near which the encoding breaks */
export async function parseSavedModel(path: string, bytes: Uint8Array, signal?: AbortSignal): Promise<SavedModel> {
  return new Parser(path, bytes, signal).savedModel();
}

class Parser {
  readonly #path: string;
  readonly #bytes: Uint8Array;
  readonly #signal: AbortSignal | undefined;
  #sinceYield = 0;

  constructor(path: string, bytes: Uint8Array, signal: AbortSignal | undefined) {
    this.#path = path;
    this.#bytes = bytes;
    this.#signal = signal;
  }

  async savedModel(): Promise<SavedModel> {
    const { rest, parts } = this.#split(this.#bytes, 2);
    const model = this.#parse(SavedModelSchema, rest);
    for (const part of parts[0]!) model.metaGraphs.push(await this.#metaGraph(part));
    return model;
  }

  async #metaGraph(bytes: Uint8Array): Promise<MetaGraphDef> {
    const { rest, parts } = this.#split(bytes, 2);
    await this.#pause(rest.length);
    const metaGraph = this.#parse(MetaGraphDefSchema, rest);
    const graph = parts[0]!.at(-1);
    if (graph) metaGraph.graphDef = await this.#graph(graph);
    return metaGraph;
  }

  async #graph(bytes: Uint8Array): Promise<GraphDef> {
    const { rest, parts } = this.#split(bytes, 1, 2);
    const graph = this.#parse(GraphDefSchema, rest);
    graph.node = await this.#nodes(parts[0]!);
    const library = parts[1]!.at(-1);
    if (library) graph.library = await this.#library(library);
    return graph;
  }

  async #library(bytes: Uint8Array): Promise<FunctionDefLibrary> {
    const { rest, parts } = this.#split(bytes, 1);
    const library = this.#parse(FunctionDefLibrarySchema, rest);
    for (const part of parts[0]!) {
      const split = this.#split(part, 3);
      await this.#pause(split.rest.length);
      const definition = this.#parse(FunctionDefSchema, split.rest);
      definition.nodeDef = await this.#nodes(split.parts[0]!);
      library.function.push(definition);
    }
    return library;
  }

  async #nodes(parts: readonly Uint8Array[]): Promise<NodeDef[]> {
    const nodes: NodeDef[] = [];
    for (const part of parts) {
      await this.#pause(part.length);
      nodes.push(this.#parse(NodeDefSchema, part));
    }
    return nodes;
  }

  async #pause(byteCount: number): Promise<void> {
    this.#sinceYield += byteCount;
    if (this.#sinceYield < YIELD_BYTES) return;
    this.#sinceYield = 0;
    this.#signal?.throwIfAborted();
    await setImmediate();
  }

  #parse<D extends DescMessage>(schema: D, bytes: Uint8Array): MessageShape<D> {
    try {
      return fromBinary(schema, bytes);
    } catch (cause) {
      throw this.#invalid(bytes, 0, `${schema.typeName}: ${(cause as Error).message}`, cause);
    }
  }

  /** Takes the occurrences of length-delimited fields out of a message; `rest` is the message without them. */
  #split(bytes: Uint8Array, ...fields: number[]): { rest: Uint8Array; parts: Uint8Array[][] } {
    const reader = new WireReader(bytes);
    const parts: Uint8Array[][] = fields.map(() => []);
    const kept: Uint8Array[] = [];
    try {
      while (reader.position < reader.end) {
        const start = reader.position;
        const tag = reader.varint();
        const taken = (tag & 7) === WIRE_BYTES ? fields.indexOf(tag >>> 3) : -1;
        if (taken === -1) {
          reader.skip(tag & 7);
          kept.push(bytes.subarray(start, reader.position));
          continue;
        }
        const end = reader.length() + reader.position;
        parts[taken]!.push(bytes.subarray(reader.position, end));
        reader.position = end;
      }
    } catch (cause) {
      throw this.#invalid(bytes, reader.position, (cause as Error).message, cause);
    }
    return { rest: kept.length === 1 ? kept[0]! : Buffer.concat(kept), parts };
  }

  #invalid(bytes: Uint8Array, offset: number, what: string, cause: unknown): ServingError {
    // Most messages are views of the file; what stood beside the split fields was copied and has no place of its own.
    const isView = bytes.buffer === this.#bytes.buffer;
    const at = isView ? `, byte ${bytes.byteOffset - this.#bytes.byteOffset + offset}` : "";
    const message = `${this.#path}${at}: not a SavedModel (${what}); export the model again`;
    return new ServingError("SAVED_MODEL_INVALID", message, { cause });
  }
}
