import assert from "node:assert/strict";
import { type Random } from "@shardserve/core";
import { attr, GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";
import { bytesOf, type Tensor, tensor } from "@shardserve/tensor";
import { type GrpcReply, predictRequest } from "./grpc.js";

/**
 * A model whose every output element tells the version and the row id that it came from, so that a reply that mixes
 * versions, or holds a wrong row, is noticed: two tables, one id each; out = row + bias.
 */
export const STAMPED = "stamped";
/** Rows of each table, far more than the executors' caches hold in these tests. */
export const STAMPED_ROWS = 20_000;
const WIDTHS = { narrow: 4, wide: 12 };
const BATCH = 24;

/** What elements tell of a version: numbers of versions that are served at the same time differ. */
const stampOf = (version: number) => ((version - 1) % 9) + 1;
/** Element of row `id`; with the bias it needs 23 of float32's 24 bits. */
const rowValue = (version: number, id: number) => stampOf(version) * 100_000 + id;
const biasValue = (version: number) => stampOf(version) / 8;

/**
 * Writes the SavedModel of one version.
 *
 * @param rowCount  of each table; fewer than {@link STAMPED_ROWS} make a version that refuses most requests
 */
export async function writeStamped(dir: string, version: number, rowCount = STAMPED_ROWS): Promise<void> {
  const graph = new GraphBuilder();
  const ids = graph.placeholder("ids", "int64", [-1, 2]);
  const columns = graph.node("Unpack", [ids], {
    attrs: { T: attr.type("int64"), num: attr.int(2), axis: attr.int(1) },
  });
  const outputs = Object.entries(WIDTHS).map(([name, width], i) => {
    const table = graph.variable(`${name}/table`, "float32", [rowCount, width]);
    const bias = graph.variable(`${name}/bias`, "float32", [width]);
    const rows = graph.gather(table, i === 0 ? columns : `${columns}:1`, "float32", "int64");
    const ref = graph.node("BiasAdd", [rows, graph.read(bias, "float32")], { attrs: { T: attr.type("float32") } });
    return [name, { ref, dtype: "float32" as const, shape: [-1, width] }] as const;
  });
  const signature = predictSignature(
    { ids: { ref: ids, dtype: "int64", shape: [-1, 2] } },
    Object.fromEntries(outputs),
  );
  await writeSavedModel(dir, graph.savedModel({ serving_default: signature }), {
    variables: async (writer) => {
      for (const [name, width] of Object.entries(WIDTHS)) {
        const rows = Float32Array.from({ length: rowCount * width }, (_, i) =>
          rowValue(version, Math.floor(i / width)),
        );
        await writer.add(`${name}/table`, "float32", [rowCount, width], bytesOf(rows));
        await writer.add(`${name}/bias`, "float32", [width], bytesOf(new Float32Array(width).fill(biasValue(version))));
      }
    },
  });
}

/** A request with random ids, and the check of its reply. */
export interface StampedRequest {
  readonly bytes: Buffer;
  /** @throws AssertionError when an element is not that of the version that the reply names */
  check(reply: GrpcReply): void;
}

/** @param batch  rows of the request */
export function stampedRequest(random: Random, batch = BATCH): StampedRequest {
  const ids = BigInt64Array.from({ length: 2 * batch }, () => BigInt(random.uint32() % STAMPED_ROWS));
  return {
    bytes: predictRequest(
      STAMPED,
      "serving_default",
      new Map<string, Tensor>([["ids", tensor("int64", [batch, 2], ids)]]),
    ),
    check({ version, outputs }) {
      for (const [column, [name, width]] of Object.entries(WIDTHS).entries()) {
        const output = outputs.get(name);
        assert.deepEqual(output?.shape, [batch, width]);
        (output.data as Float32Array).forEach((value, i) => {
          const id = Number(ids[2 * Math.floor(i / width) + column]);
          assert.equal(value, rowValue(version, id) + biasValue(version), `version ${version}, ${name}, row ${id}`);
        });
      }
    },
  };
}
