import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { hashPoint } from "@shardserve/placement";
import fc from "fast-check";
import { Preferences } from "../src/preferences.js";

const anyMembers = fc
  .array(fc.constantFrom(0.5, 1, 2, 30), { minLength: 1, maxLength: 8 })
  .map((weights) => weights.map((weight, i) => ({ id: `shard-${i}`, weight })));

/** Slow twin: every point of every member, sorted; the order in which members appear from the partition's point on. */
function slowOrder(members: readonly { id: string; weight: number }[], model: string, partition: number): number[] {
  const heaviest = Math.max(...members.map(({ weight }) => weight));
  const scale = Math.min(1, 4096 / (heaviest * 256));
  const points = members.flatMap(({ id, weight }, owner) =>
    Array.from({ length: Math.max(16, Math.round(weight * scale * 256)) }, (_, i) => ({
      point: hashPoint(id, i),
      owner,
    })),
  );
  points.sort((a, b) => a.point - b.point);
  const from = hashPoint(model, partition);
  const turned = [...points.filter(({ point }) => point >= from), ...points.filter(({ point }) => point < from)];
  return [...new Set(turned.map(({ owner }) => owner))];
}

describe("preferences", () => {
  it("are the ring's order, whether walked or measured", () => {
    fc.assert(
      fc.property(anyMembers, fc.integer({ min: 0, max: 40 }), (members, partition) => {
        const preferences = runAtOnce(Preferences.of(members, 41, "ctr"));
        const order = slowOrder(members, "ctr", partition);
        const walked: number[] = [];
        assert.equal(
          preferences.find(partition, (shard) => {
            walked.push(shard);
            return false;
          }),
          -1,
        );
        assert.deepEqual(walked, order);
        for (const shard of order)
          assert.equal(
            preferences.find(partition, (other) => other === shard),
            shard,
          );
        const measured = [...members.keys()].sort(
          (a, b) => preferences.distance(partition, a) - preferences.distance(partition, b),
        );
        assert.deepEqual(measured, order);
      }),
      { numRuns: 60 },
    );
  });
});
