import assert from "node:assert/strict";
import { ManualClock } from "@shardserve/core";
import { MemoryStore } from "@shardserve/registry";

describe("a registry in memory that begins anew", () => {
  it("knows no lease of the one before: its holders register again", () => {
    const clock = new ManualClock();
    const before = new MemoryStore({ clock });
    const lease = before.grantLease(10);
    before.close();
    clock.advance(1);
    const after = new MemoryStore({ clock });
    after.grantLease(10);
    assert.equal(after.keepAlive(lease), false);
  });
});
