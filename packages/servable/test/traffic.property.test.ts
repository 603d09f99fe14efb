import assert from "node:assert/strict";
import { Manager, stickyPoint, type TrafficShare, versionAt } from "@shardserve/servable";
import { seededRandom } from "@shardserve/core";
import fc from "fast-check";
import { FakeLoader } from "./fakes.js";

const shares = fc
  .uniqueArray(fc.record({ version: fc.nat(50), weight: fc.double({ min: 1e-3, max: 1e3, noNaN: true }) }), {
    selector: ({ version }) => version,
    minLength: 1,
    maxLength: 5,
  })
  .map((list) => list.sort((a, b) => a.version - b.version));

describe("traffic split", () => {
  it("gives each version its part of the points", () => {
    fc.assert(
      fc.property(shares, (split) => {
        const points = 2000;
        const counts = new Map<number, number>();
        for (let i = 0; i < points; i++) {
          const version = versionAt(split, (i + 0.5) / points);
          counts.set(version, (counts.get(version) ?? 0) + 1);
        }
        const total = split.reduce((sum, { weight }) => sum + weight, 0);
        for (const { version, weight } of split) {
          assert.ok(Math.abs((counts.get(version) ?? 0) / points - weight / total) <= 1.01 / points);
        }
      }),
    );
  });

  it("keeps a sticky key on its version, and moves only the weight's part of the keys to a canary that grows", () => {
    const at = (canary: number): TrafficShare[] => [
      { version: 41, weight: 100 - canary },
      { version: 42, weight: canary },
    ];
    const keys = Array.from({ length: 4000 }, (_, i) => `user-${i}`);
    const before = keys.map((key) => versionAt(at(10), stickyPoint("ranker", key)));
    const after = keys.map((key) => versionAt(at(20), stickyPoint("ranker", key)));
    const canaries = before.filter((version) => version === 42).length;
    assert.ok(canaries > 320 && canaries < 480, `${canaries} of 4000 keys at 10 %`);
    const moved = keys.filter((_, i) => before[i] !== after[i]);
    assert.ok(moved.length > 320 && moved.length < 480, `${moved.length} keys moved`);
    assert.ok(
      keys.every((_, i) => before[i] !== 42 || after[i] === 42),
      "no key left the canary",
    );
  });

  it("of a version that is not available falls to the others; labels and versions are not split", async () => {
    const loader = new FakeLoader();
    const manager = new Manager({ loader, stepByHand: true, random: seededRandom(7) });
    await manager.start();
    manager.setAspired(
      "m",
      [1, 2].map((version) => ({ version, path: "" })),
    );
    for (let i = 0; i < 2; i++) {
      manager.step();
      await loader.succeed();
    }
    const split = [1, 2, 3].map((version) => ({ version, weight: 1 }));
    const ask = (request = {}) => {
      using handle = manager.handle({ name: "m", ...request });
      return handle.id.version;
    };
    assert.equal(ask(), 2, "without a policy the highest");
    manager.replaceTraffic(new Map([["m", { split }]]));
    const drawn = Array.from({ length: 400 }, () => ask());
    const ones = drawn.filter((version) => version === 1).length;
    assert.ok(ones > 150 && ones < 250, `${ones} of 400 went to version 1`);
    assert.ok(drawn.every((version) => version < 3));
    assert.equal(ask({ version: 1 }), 1);
    assert.equal(new Set(Array.from({ length: 20 }, () => ask({ stickyKey: "k" }))).size, 1);
    manager.replaceTraffic(new Map([["m", { split: [{ version: 9, weight: 1 }] }]]));
    assert.equal(ask(), 2, "nothing of the split is available");
    await manager.close();
  });
});
