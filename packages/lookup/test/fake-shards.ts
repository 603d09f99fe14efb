import { seededRandom } from "@shardserve/core";
import { place } from "@shardserve/placement";
import type { TableInfo } from "@shardserve/rowstore";
import {
  type Exchange,
  FRAME,
  FramedServer,
  OPEN_METHOD,
  parseAddress,
  planRows,
  readLookupRequest,
  type TableReply,
  writeRowsHead,
} from "@shardserve/transport";
import { ShardRows, type ShardRowsOptions } from "../src/index.js";

export const TABLE: TableInfo = {
  name: "t",
  checkpointKey: "t",
  rows: 1000,
  rowShape: [4],
  dim: 4,
  dtype: "float32",
  rowDtype: "same",
  rowBytes: 16,
};
export const P = 3;
export const EXPECTATION = {
  cluster: "c",
  model: "m",
  version: 1,
  manifestDigest: "aa",
  partitionDigest: (partition: number) => `d${partition}`,
};

/** A shard that proves everything and answers as it is told. */
export async function fakeShard(
  id: string,
  answer: (exchange: Exchange) => void,
  proof: object = {},
  takesTraces = false,
): Promise<FramedServer> {
  const server = new FramedServer({
    peer: id,
    listen: [parseAddress("127.0.0.1:0")],
    calls: {
      [OPEN_METHOD]: () => ({
        cluster: "c",
        shard: id,
        model: "m",
        version: 1,
        epoch: 0,
        channel: 1,
        manifestDigest: "aa",
        partitions: [0, 1, 2],
        digests: ["d0", "d1", "d2"],
        ...proof,
      }),
    },
    lookup: answer,
    takesTraces,
  });
  await server.start();
  return server;
}

/** Every element of row i is i. */
export function honest(
  exchange: Exchange,
  change: (table: TableReply) => TableReply = (table) => table,
  epoch = 0,
): void {
  const { columns, ids } = readLookupRequest(exchange.payload);
  const rowCount = columns[1] as number;
  const table = change({ table: 0, status: 0, rowCount, rowBytes: 16, defaults: new Uint32Array(0), detail: 0 });
  const layout = planRows([table]);
  const payload = Buffer.alloc(layout.bytes);
  writeRowsHead(payload, layout, 1, epoch, [table]);
  for (let i = 0; i < (table.rowCount * table.rowBytes) / 4; i++) {
    payload.writeFloatLE(Number(ids[i >> 2] ?? 0n), (layout.rowOffsets[0] as number) + i * 4);
  }
  exchange.reply(FRAME.ROWS, [payload]);
}

export async function rowsOver(
  servers: Readonly<Record<string, FramedServer>>,
  options: Partial<ShardRowsOptions> = {},
): Promise<ShardRows> {
  const directory = {
    shard: (id: string) => {
      const address = servers[id]?.addresses[0];
      return address && "port" in address
        ? { machine: "", addresses: { tcp: `${address.host}:${address.port}` } }
        : undefined;
    },
  };
  const rows = new ShardRows({
    expectation: EXPECTATION,
    tables: [TABLE],
    partitionCount: P,
    directory,
    machine: "",
    peer: "test",
    cacheBytes: 2 ** 16,
    timeoutMs: 400,
    random: seededRandom(1),
    ...options,
  });
  const shards = Object.keys(servers).map((id) => ({ id, weight: 1, zone: id }));
  rows.setMap(place(shards, P, shards.length, { model: "m", version: 1, generation: 1 }));
  return rows;
}
