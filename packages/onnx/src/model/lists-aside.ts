import { setImmediate } from "node:timers/promises";
import type { onnx } from "@shardserve/api";
import { WIRE_BYTES, type WireField, wireFields, WireReader } from "@shardserve/tensor";
import { WireWriter } from "../proto/wire.js";
import { decodeOnnxModel } from "./model-file.js";

/** Shorter attributes are decoded like all others. */
const LIST_BYTES_MIN = 16 * 1024;
/** Bytes looked through in one turn of the event loop. */
const SLICE_BYTES = 2 ** 16;

// Fields of ModelProto, GraphProto, NodeProto and AttributeProto.
const GRAPH = 7;
const NODE = 1;
const OP_TYPE = 4;
const ATTRIBUTE = 5;
/** Name, floats, ints, strings, text for people, type: an attribute of others can hold tensors or graphs. */
const OF_LISTS: ReadonlySet<number> = new Set([1, 7, 8, 9, 13, 20]);
/** Operators whose lists are read here. */
const READ: ReadonlySet<string> = new Set(["ZipMap", "Constant"]);

/**
 * As decodeOnnxModel, but long lists in attributes of the main graph's nodes stay as encoded, fields that the message does not know: a
 * forest keeps millions of numbers in them, which nothing here reads and which are encoded again just as they were.
 *
 * @throws ServingError GRAPH_INVALID
 */
export async function decodeWithListsAside(
  bytes: Uint8Array,
  where: string,
): Promise<onnx.ModelProto & { graph: onnx.GraphProto }> {
  const aside = new Map<number, Uint8Array[]>();
  const light = await withoutLists(bytes, aside).catch(() => undefined); // decoding says what is wrong with it
  if (light === undefined || aside.size === 0) return decodeOnnxModel(bytes, where);
  const model = decodeOnnxModel(light, where);
  for (const [index, lists] of aside)
    model.graph.node[index]!.$unknown = lists.map((data) => ({ no: ATTRIBUTE, wireType: WIRE_BYTES, data }));
  return model;
}

/** @returns undefined where there is more than one graph, which are to be joined */
async function withoutLists(bytes: Uint8Array, aside: Map<number, Uint8Array[]>): Promise<Uint8Array | undefined> {
  const out = new WireWriter();
  let graphs = 0;
  for (const field of wireFields(new WireReader(bytes))) {
    if (field.number !== GRAPH || !field.isDelimited) out.raw(bytes.subarray(field.start, field.end));
    else if (graphs++ > 0) return undefined;
    else out.bytes(GRAPH, await graphWithoutLists(bytes, field, aside));
  }
  return out.finish();
}

async function graphWithoutLists(bytes: Uint8Array, graph: WireField, aside: Map<number, Uint8Array[]>) {
  const out = new WireWriter();
  let index = 0;
  for (const field of wireFields(new WireReader(bytes, graph.valueStart, graph.end))) {
    const isNode = field.number === NODE && field.isDelimited;
    const lists = isNode && isLong(field) ? await listsOf(bytes, field) : [];
    if (lists.length === 0) out.raw(bytes.subarray(field.start, field.end));
    else {
      const own = [...wireFields(new WireReader(bytes, field.valueStart, field.end))];
      const taken = new Set(lists.map(({ start }) => start));
      out.message(NODE, (node) => {
        for (const { start, end } of own) if (!taken.has(start)) node.raw(bytes.subarray(start, end));
      });
      aside.set(
        index,
        lists.map(({ lengthStart, end }) => bytes.subarray(lengthStart, end)),
      );
    }
    if (isNode) index++;
  }
  return out.finish();
}

/** The long lists among a node's attributes. */
async function listsOf(bytes: Uint8Array, node: WireField): Promise<WireField[]> {
  const lists: WireField[] = [];
  for (const field of wireFields(new WireReader(bytes, node.valueStart, node.end))) {
    const isRead =
      field.number === OP_TYPE && READ.has(Buffer.from(bytes.subarray(field.valueStart, field.end)).toString());
    if (isRead) return [];
    if (field.number === ATTRIBUTE && field.isDelimited && isLong(field) && (await isList(bytes, field)))
      lists.push(field);
  }
  return lists;
}

async function isList(bytes: Uint8Array, attribute: WireField): Promise<boolean> {
  let seen = attribute.start;
  for (const { number, end } of wireFields(new WireReader(bytes, attribute.valueStart, attribute.end))) {
    if (!OF_LISTS.has(number)) return false;
    if (end - seen < SLICE_BYTES) continue;
    seen = end;
    await setImmediate();
  }
  return true;
}

function isLong({ valueStart, end }: WireField): boolean {
  return end - valueStart >= LIST_BYTES_MIN;
}
