import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { onnx } from "@shardserve/api";
import { decodeOnnxModel, findOnnxTables, hoistGathers } from "@shardserve/onnx";
import { REPO_DIR } from "@shardserve/testkit";

const BAGS = join(REPO_DIR, "test/fixtures/onnx/bags/1/model.onnx");

/** Tables that can be sharded once gathers were hoisted from the fixture "bags", changed before. */
async function tablesOf(change: (graph: onnx.GraphProto) => void): Promise<string[]> {
  const { graph } = decodeOnnxModel(new Uint8Array(await readFile(BAGS)), "bags");
  change(graph);
  hoistGathers(graph);
  return findOnnxTables(graph).tables.flatMap(({ name, shardable }) => (shardable === true ? [name] : []));
}

const named = (graph: onnx.GraphProto, name: string) => graph.node.find((node) => node.name === name)!;
const bodyOf = (graph: onnx.GraphProto, loop: string) => named(graph, loop).attribute.find(({ g }) => g)!.g!;

describe("gathers are brought out only where no number changes", () => {
  const all = ["words", "items_int8", "users_half"];
  const cases: Record<string, { change: (graph: onnx.GraphProto) => void; left: string[] }> = {
    "as exported": { change: () => undefined, left: all },
    "the body slices another dimension": {
      change: (graph) => {
        const axis = bodyOf(graph, "sum/loop").node.find(({ output }) => output[0] === "sum/axis")!;
        axis.attribute[0]!.t!.rawData = new Uint8Array(new BigInt64Array([1n]).buffer);
      },
      left: ["items_int8", "users_half"],
    },
    "the body makes its ids": {
      change: (graph) => {
        const body = bodyOf(graph, "sum/loop");
        body.node.find(({ output }) => output[0] === "sum/bag")!.input[0] = "sum/start";
      },
      left: ["items_int8", "users_half"],
    },
    "a branch or loop reads what was widened": {
      change: (graph) => {
        bodyOf(graph, "sum/loop").output[1]!.name = "items";
      },
      left: ["words", "users_half"],
    },
    "what was widened is an output": {
      change: (graph) => {
        graph.output[0]!.name = "users";
      },
      left: ["words", "items_int8"],
    },
    "what was widened is read whole as well": {
      change: (graph) => {
        graph.node.find(({ output }) => output[0] === "people")!.input[1] = "users";
      },
      left: ["words", "items_int8"],
    },
    "rows or columns have scales of their own": {
      change: (graph) => {
        graph.initializer.find(({ name }) => name === "items_scale")!.dims = [8n];
      },
      left: ["words", "users_half"],
    },
    "columns are gathered": {
      change: (graph) => {
        named(graph, "item").attribute[0]!.i = 1n;
      },
      left: ["words", "users_half"],
    },
  };
  for (const [what, { change, left }] of Object.entries(cases))
    it(what, async () => assert.deepEqual(await tablesOf(change), left));
});
