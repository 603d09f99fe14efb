import assert from "node:assert/strict";
import { seededRandom } from "@shardserve/core";
import type { PartitionMap } from "@shardserve/placement";
import { readLookupRequest } from "@shardserve/transport";
import fc from "fast-check";
import { type Misses, partitionOfLanes, planFrames, type Routes } from "../src/fetch/frame-plan.js";
import { ReplicaChoice } from "../src/replicas/replica-choice.js";
import { ShardHealth } from "../src/replicas/shard-health.js";
import type { ShardLink } from "../src/replicas/shard-link.js";

const P = 11;

function fakeLink(shard: string, held: ReadonlySet<number>, rowsInFlight: number, replyBytesMax = 2 ** 26): ShardLink {
  const fake = {
    shard,
    rowsInFlight,
    channel: 9,
    replyBytesMax,
    requestBytesMax: 2 ** 24,
    zone: "",
    health: new ShardHealth(seededRandom(1)),
    holds: (p: number) => held.has(p),
  };
  return fake as unknown as ShardLink; // planFrames looks at nothing else of a link
}

function routesOf(links: readonly ShardLink[], replication: number): Routes {
  const replicas = Uint16Array.from({ length: P * replication }, (_, i) => {
    const partition = Math.floor(i / replication);
    return (partition + (i % replication)) % links.length;
  });
  const shards = links.map((link) => link.shard);
  const map: PartitionMap = {
    generation: 5,
    model: "m",
    version: 1,
    epoch: 2,
    partitionCount: P,
    replication,
    shards,
    replicas,
  };
  return { map, links };
}

function missesOf(tables: readonly (readonly bigint[])[]): { misses: Misses; ids: bigint[] } {
  const ids = tables.flat();
  let at = 0;
  const sections = tables.map((list, table) => ({
    table: table * 3,
    rowBytes: 64,
    start: at,
    end: (at += list.length),
  }));
  const lanes = new Int32Array(BigInt64Array.from(ids).buffer);
  return {
    ids,
    misses: {
      lo: Int32Array.from(ids, (_, i) => lanes[i * 2] as number),
      hi: Int32Array.from(ids, (_, i) => lanes[i * 2 + 1] as number),
      slots: Int32Array.from(ids, (_, i) => 1000 + i),
      sections,
    },
  };
}

function choiceOf(routes: Routes, avoid: ReadonlySet<ShardLink> = new Set(), seed = 1): ReplicaChoice {
  return new ReplicaChoice(routes, { avoid, zone: "", isHedge: false, nowMs: 0 }, seededRandom(seed));
}

describe("frame plan", () => {
  it("asks for every row exactly once, of a usable replica of its partition, in one frame per shard", () => {
    const tables = fc.array(fc.array(fc.bigInt({ min: 0n, max: 2n ** 40n }), { maxLength: 30 }), {
      minLength: 1,
      maxLength: 5,
    });
    const held = fc.array(fc.uniqueArray(fc.nat(P - 1)), { minLength: 2, maxLength: 5 });
    fc.assert(
      fc.property(
        tables,
        held,
        fc.integer({ min: 1, max: 2 }),
        fc.nat(4),
        fc.nat(),
        (lists, sets, replication, avoided, seed) => {
          const links = sets.map((set, i) => fakeLink(`s${i}`, new Set(set), (i * 37) % 5));
          const routes = routesOf(links, replication);
          const { misses, ids } = missesOf(lists);
          const avoid = new Set([links[avoided]].filter((link) => link !== undefined));
          const pending = Int32Array.from(ids, (_, i) => i).filter((i) => (i + seed) % 7 !== 0);
          const header = { remainingMs: 100, generation: 5, epoch: 2 };
          const plan = planFrames(routes, misses, pending, choiceOf(routes, avoid, seed), header);
          const seen: number[] = [...plan.unroutable];
          assert.equal(new Set(plan.frames.map(({ link }) => link)).size, plan.frames.length);
          for (const frame of plan.frames) {
            assert.ok(!avoid.has(frame.link));
            const request = readLookupRequest(frame.payload);
            assert.deepEqual([request.channel, request.generation, request.epoch], [9, 5, 2]);
            assert.deepEqual(
              [...request.ids],
              Array.from(frame.rows, (row) => ids[row]),
            );
            assert.deepEqual(
              [...frame.slots],
              Array.from(frame.rows, (row) => 1000 + row),
            );
            let at = 0;
            frame.sections.forEach((section, k) => {
              assert.equal(request.columns[k * 2], misses.sections[section]?.table);
              for (let i = 0; i < (frame.counts[k] as number); i++, at++) {
                const row = frame.rows[at] as number;
                const { start, end } = misses.sections[section] as { start: number; end: number };
                assert.ok(row >= start && row < end);
                assert.ok(frame.link.holds(Number((ids[row] as bigint) % BigInt(P))));
              }
            });
            seen.push(...frame.rows);
          }
          assert.deepEqual(
            seen.sort((a, b) => a - b),
            [...pending],
          );
          for (const row of plan.unroutable) {
            const partition = Number((ids[row] as bigint) % BigInt(P));
            const replicas = [...routes.map.replicas.subarray(partition * replication, (partition + 1) * replication)];
            assert.ok(replicas.every((i) => !links[i]?.holds(partition) || avoid.has(links[i] as ShardLink)));
          }
        },
      ),
    );
  });

  it("prefers the replica with fewer rows in flight", () => {
    const all = new Set(Array.from({ length: P }, (_, i) => i));
    const busy = fakeLink("busy", all, 10_000);
    const idle = fakeLink("idle", all, 0);
    const routes = routesOf([busy, idle], 2);
    const { misses } = missesOf([Array.from({ length: 50 }, (_, i) => BigInt(i))]);
    const pending = Int32Array.from({ length: 50 }, (_, i) => i);
    const header = { remainingMs: 0, generation: 1, epoch: 0 };
    const plan = planFrames(routes, misses, pending, choiceOf(routes), header);
    assert.deepEqual(
      plan.frames.map(({ link, rowCount }) => [link.shard, rowCount]),
      [["idle", 50]],
    );
  });

  it("splits what exceeds a shard's reply limit", () => {
    const all = new Set(Array.from({ length: P }, (_, i) => i));
    const link = fakeLink("s", all, 0, 256 * 1024 + 64 * 10);
    const routes = routesOf([link], 1);
    const { misses } = missesOf([Array.from({ length: 25 }, (_, i) => BigInt(i))]);
    const pending = Int32Array.from({ length: 25 }, (_, i) => i);
    const header = { remainingMs: 0, generation: 1, epoch: 0 };
    const plan = planFrames(routes, misses, pending, choiceOf(routes), header);
    assert.deepEqual(
      plan.frames.map(({ rowCount }) => rowCount),
      [10, 10, 5],
    );
  });

  it("places an id as the exporter does: id mod P", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }), fc.integer({ min: 1, max: 131_072 }), (id, count) => {
        const lanes = new Int32Array(BigInt64Array.of(id).buffer);
        assert.equal(partitionOfLanes(lanes[0] as number, lanes[1] as number, count), Number(id % BigInt(count)));
      }),
    );
  });
});
