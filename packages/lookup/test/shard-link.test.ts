import assert from "node:assert/strict";
import { seededRandom, silentLogger, systemClock } from "@shardserve/core";
import { BufferPool } from "@shardserve/transport";
import { eventually } from "@shardserve/testkit";
import { ShardLink } from "../src/replicas/shard-link.js";
import { EXPECTATION, fakeShard, honest, P } from "./fake-shards.js";

describe("link to a shard", () => {
  it("a new connection is asked for more at once, however long the one before brought nothing", async () => {
    let proofs = 0;
    const proof = {
      get partitions() {
        proofs++;
        return [0];
      },
      digests: ["d0"],
    };
    let shard = await fakeShard("a", honest, proof);
    const directory = {
      shard: () => {
        const address = shard.addresses[0];
        return address && "port" in address
          ? { machine: "", addresses: { tcp: `${address.host}:${address.port}` } }
          : undefined;
      },
    };
    const clock = { ...systemClock, nowMs: () => systemClock.nowMs() + skewMs };
    let skewMs = 0;
    const link = new ShardLink({
      shard: "a",
      directory,
      machine: "",
      peer: "test",
      expectation: EXPECTATION,
      partitionCount: P,
      pool: new BufferPool(),
      clock,
      random: seededRandom(1),
      logger: silentLogger,
    });
    await link.start();
    await eventually(() => Promise.resolve(assert.ok(link.isReady)));
    for (let i = 0; i < 8; i++, skewMs += 31_000) await link.refreshSeldom();
    skewMs -= 31_000;
    await shard.close({ drainMs: 0 });
    await eventually(() => Promise.resolve(assert.ok(!link.isReady)));
    await link.refreshSeldom();
    shard = await fakeShard("a", honest, proof);
    await eventually(() => Promise.resolve(assert.ok(link.isReady)));
    const before = proofs;
    await link.refreshSeldom();
    assert.equal(proofs, before + 1);
    await link.close(0);
    await shard.close({ drainMs: 0 });
  });
});
